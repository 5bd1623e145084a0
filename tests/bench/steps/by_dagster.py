"""A job of ten ops, each after the one before, in Dagster's own process, with its own database."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import dagster
from driver import STEPS, drive


def step(number: int) -> dagster.OpDefinition:
    ins = {"before": dagster.In(dagster.Nothing)} if number else {}

    @dagster.op(name=f"step_{number}", ins=ins, config_schema={"command": [str]})
    def work(context) -> None:  # type: ignore[no-untyped-def] # Dagster reads no string as a type
        subprocess.run(context.op_config["command"], check=True, capture_output=True)

    return work


OPS = [step(number) for number in range(STEPS)]


@dagster.job
def steps() -> None:
    before = OPS[0]()
    for op in OPS[1:]:
        before = op(before=before)


instance = dagster.DagsterInstance.get()


def run(command: Sequence[str]) -> None:
    config = {"ops": {op.name: {"config": {"command": list(command)}} for op in OPS}}
    assert steps.execute_in_process(run_config=config, instance=instance).success


drive(run)
