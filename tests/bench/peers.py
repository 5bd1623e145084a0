"""Compares ten empty steps with other engines of workflows: `build/bench --peers`.

Here each step is a container; theirs run `true` as a process, and in a second figure
`podman run --rm` of the same image. The daemon runs before, and so does whatever an engine keeps
running: what counts is the time from the start of a job or run to its end.

Each engine gets a virtual environment of its own below `.cache/peers`, from PyPI. Nextflow is left
out: its package on PyPI only downloads the engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.bench.case import Case, Figure, Pair, Pairs, at_most
from tests.bench.further import TEN
from tests.bench.run import main
from tests.bench.start import NOTHING, PODMAN_RUN, started_daemon
from tests.integration.daemon.conftest import IMAGE

ROOT = Path(__file__).parents[2]
STEPS = Path(__file__).parent / "steps"
CONTAINER = (*PODMAN_RUN, f"{IMAGE}:1", *NOTHING)
#: The packages of PyPI, with the versions that were tried.
ENGINES = {
    "snakemake": "snakemake==9.27.1",
    "prefect": "prefect==3.9.1",
    "dagster": "dagster==1.13.28",
    "airflow": "apache-airflow==3.3.2",
}
#: Nothing is reported to the makers, and no examples are loaded.
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}


def environment_of(name: str) -> Path:
    """Returns the interpreter of the engine's virtual environment, which is made where missing."""
    folder = ROOT / ".cache" / "peers" / ENGINES[name]
    python = folder / "bin" / "python"
    done = folder / ".complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--prefer-binary"]
        subprocess.run([*pip, ENGINES[name]], check=True, stdout=sys.stderr)
        done.touch()
    return python


@contextmanager
def engine(name: str) -> Iterator[Callable[[Sequence[str]], float]]:
    """Yields a function that runs a command in ten steps, and returns the seconds."""
    python = environment_of(name)
    with tempfile.TemporaryDirectory() as home:
        homes = {f"{other.upper()}_HOME": home for other in ENGINES}
        log = Path(home, "log")
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [python, STEPS / f"by_{name}.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=home,
                env=os.environ | homes | SETTINGS,
                text=True,
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None

            def steps(command: Sequence[str]) -> float:
                print(json.dumps(list(command)), file=process.stdin, flush=True)
                answer = process.stdout.readline() if process.stdout else ""
                assert answer, log.read_text(errors="replace")[-2000:]
                return float(answer)

            try:
                yield steps
            finally:
                process.stdin.close()  # the end of its work; it removes what it has started


def pairs(name: str, _: int) -> Pairs:
    with engine(name) as steps, started_daemon() as daemon:
        pipeline = daemon.register("ten", TEN, NOTHING)
        while True:
            ours = daemon.run(pipeline)
            yield [
                Pair(ours, steps(NOTHING)),
                Pair(ours, steps([*PODMAN_RUN, f"{IMAGE}:1", *NOTHING])),
            ]


PEERS = [
    Case(
        name=name,
        figures=(
            Figure("10 steps", f"{package}, no container", "s", at_most(1)),
            Figure("10 steps, containers", f"{package}, podman run --rm", "s", at_most(1)),
        ),
        pairs=partial(pairs, name),
        full=1,
        quick=1,
    )
    for name, package in ENGINES.items()
]


if __name__ == "__main__":
    sys.exit(main(PEERS))
