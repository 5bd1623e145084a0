"""A flow of ten tasks, each after the one before, with the server that Prefect starts for it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from driver import STEPS, drive
from prefect import flow, task


@task
def step(command: Sequence[str], before: int) -> int:
    subprocess.run(command, check=True, capture_output=True)
    return before + 1


@flow
def steps(command: Sequence[str]) -> int:
    done = 0
    for _ in range(STEPS):
        done = step(command, done)
    return done


def run(command: Sequence[str]) -> None:
    assert steps(command) == STEPS


drive(run)
