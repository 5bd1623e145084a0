"""Ten rules, each after the one before. Snakemake has no daemon: each run is one of its program."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from driver import STEPS, drive

PROGRAM = Path(sys.executable).with_name("snakemake")


def workflow(command: Sequence[str]) -> str:
    lines = [f"rule all:\n    input: 'step-{STEPS - 1}'\n"]
    for number in range(STEPS):
        before = f"    input: 'step-{number - 1}'\n" if number else ""
        shell = literal(f"{shlex.join(command)} && touch step-{number}")
        lines.append(
            f"rule step_{number}:\n{before}    output: 'step-{number}'\n    shell: {shell}\n"
        )
    return "".join(lines)


def literal(text: str) -> str:
    """Returns a literal in which Snakemake replaces nothing."""
    return repr(text.replace("{", "{{").replace("}", "}}"))


def run(command: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Snakefile").write_text(workflow(command))
        cores = str(os.cpu_count() or 1)
        subprocess.run(
            [PROGRAM, "--quiet", "all", "--cores", cores], check=True, cwd=folder, stdout=sys.stderr
        )
        assert Path(folder, f"step-{STEPS - 1}").exists()


drive(run)
