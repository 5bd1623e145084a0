"""The layer contracts hold, and each of them notices what it forbids."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()",
         "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copy(ROOT / ".importlinter", tmp_path)
    shutil.copytree(
        ROOT / "claraedge", tmp_path / "claraedge", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path


def test_the_contracts_hold(source: Path) -> None:
    ended = lint(source)
    assert ended.returncode == 0, ended.stdout
    assert "0 broken" in ended.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("pipelines/model.py", "import claraedge.store.database", "definition language is pure"),
        ("pipelines/reader.py", "import asyncio", "definition language is pure"),
        ("jobs/engine.py", "import claraedge.api", "knows only the rooms below"),
        ("store/database.py", "import claraedge.daemon", "Nothing imports the daemon"),
        ("cli/main.py", "import claraedge.store.database", "through the client only"),
        ("jobs/admission.py", "import time", "Decisions take values"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(
    source: Path, module: str, line: str, contract: str
) -> None:
    with (source / "claraedge" / module).open("a") as file:
        file.write(f"\n{line}\n")
    ended = lint(source)
    assert ended.returncode == 1
    broken = [text for text in ended.stdout.splitlines() if " BROKEN" in text]
    assert any(contract in text for text in broken), ended.stdout
