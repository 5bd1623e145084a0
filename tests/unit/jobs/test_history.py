"""A job's own log: one line for each thing that happened, while it runs as well."""

from __future__ import annotations

import re

import pytest

from claraedge.errors import OperatorNotFoundError
from claraedge.jobs.logs.history import NAMES
from tests.rig.device import Device
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


async def history(rig: EngineRig, job: str, name: str = NAMES[0]) -> list[str]:
    """The lines without their times; each has one, and ends in a newline."""
    found = list(await rig.jobs.logs(job, name))
    assert all(TIME.match(line) and line.endswith("\n") for line in found)
    assert [line[:24] for line in found] == sorted(line[:24] for line in found)
    return [TIME.sub("", line).removesuffix("\n") for line in found]


async def test_every_step_of_a_job_that_ends_well_is_a_line(device: Device) -> None:
    device.runner.block("two")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"}, start=False)
        assert await history(rig, job.id) == ["job created, of the pipeline chain"]
        await rig.jobs.start(job.id, {})
        await rig.until_runs("two")
        so_far = [
            "job created, of the pipeline chain",
            "job queued",
            "job started",
            "operator one started, attempt 1",
            "operator one ended: COMPLETED, exit code 0",
            "operator two started, attempt 1",
        ]
        assert await history(rig, job.id) == so_far
        device.runner.release("two")
        await rig.end(job.id)
        whole = [
            *so_far,
            "operator two ended: COMPLETED, exit code 0",
            "job stopped: HEALTHY",
        ]
        assert [await history(rig, job.id, name) for name in (*NAMES, "Clara-Pod-Manager")] == [
            whole
        ] * 3


async def test_a_failure_has_its_exit_code_and_its_message(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", image="fail")), {"x": b"1"})
        await rig.end(job.id)
        assert (await history(rig, job.id))[-3:] == [
            "operator one ended: FAULTED, exit code 3",
            "operator one: failed with exit code 3; its last line: no such slice",
            "job stopped: FAULTED",
        ]


async def test_a_cancel_is_logged_with_its_reason(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), start=False)
        await rig.jobs.cancel(job.id, "wrong\npatient")
        assert (await history(rig, job.id))[1:] == [
            "cancel asked for: wrong",
            "patient",
            "canceled: wrong",
            "patient",
            "job stopped: CANCELED",
        ]


async def test_an_operator_of_that_name_keeps_its_own_log(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain(NAMES[0])), {"x": b"1"})
        await rig.end(job.id)
        assert list(await rig.jobs.logs(job.id, NAMES[0])) == ["copied\n"]
        assert (await history(rig, job.id, NAMES[1]))[-1] == "job stopped: HEALTHY"


async def test_for_another_name_the_error_lists_what_there_is(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), start=False)
        with pytest.raises(
            OperatorNotFoundError, match="its operators are one, and claraedge-engi"
        ):
            await rig.jobs.logs(job.id, "absent")
