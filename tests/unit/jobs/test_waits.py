"""What a job and its operators are said to wait for, from before the start to the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from claraedge import config
from claraedge.errors import JobNotFoundError
from claraedge.images.images import Images
from claraedge.jobs.engine.waits import Wait
from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.queue import WINDOW, JobQueue
from tests.rig.device import Device, copy, fail
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path, max_operators=1)
    device.runner.add_image("copy:1", copy)
    device.runner.add_image("fail:1", fail)
    return device


async def until(rig: EngineRig, job: str, *texts: str) -> Sequence[Wait]:
    """The waits of a job once they are these."""
    found: list[Wait] = []

    async def waits() -> bool:
        found[:] = await rig.jobs.waits(job)
        return [wait.text for wait in found] == list(texts)

    await eventually(waits, f"it waits for {texts}", details=lambda: found)
    return found


async def test_a_job_waits_for_its_start_then_for_slots_and_operators_and_at_the_end_for_nothing(
    device: Device,
) -> None:
    device.runner.block("a")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("a", "b", "c"))
        job = await rig.job(pipeline, {"x": b"1"}, start=False)
        (unstarted,) = await rig.jobs.waits(job.id)
        assert unstarted == Wait(operator="", text=f"its start (`claraedge start job {job.id}`)")
        await rig.jobs.start(job.id, {})
        await rig.until_runs("a")
        found = await rig.jobs.waits(job.id)
        assert found == (
            Wait(operator="b", text="the operator a", upstream=("a",)),
            Wait(operator="c", text="the operator b", upstream=("b",)),
        )
        second = await rig.job(pipeline, {"x": b"1"})
        await until(
            rig, second.id, "all 1 operator slots are taken", "the operator a", "the operator b"
        )
        device.runner.release("a")
        await rig.end(second.id)
        assert await rig.jobs.waits(job.id) == await rig.jobs.waits(second.id) == ()


async def test_a_job_that_was_not_considered_yet_knows_its_position(device: Device) -> None:
    device.runner.block("a")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("a"))
        await rig.job(pipeline, {"x": b"1"})
        await rig.until_runs("a")
        jobs = [await rig.job(pipeline) for _ in range(WINDOW + 3)]
        await until(
            rig, jobs[-1].id, f"its turn; {WINDOW + 2} jobs of its class were started before it"
        )


async def test_a_retry_says_when_it_comes(device: Device) -> None:
    text = chain("a", image="fail", extra=["retry: {attempts: 2, backoff: 600}"])
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text), {"x": b"1"})

        async def text_of_a() -> str | None:
            found = await rig.jobs.waits(job.id)  # before, the whole job may wait for its turn
            return found[0].text if found and found[0].operator == "a" else None

        found = await eventually(text_of_a, "its operator waits")
        assert re.fullmatch(r"its next attempt; it is run again at \d\d:\d\d:\d\d", found)
        await rig.jobs.cancel(job.id, "enough")
        assert await rig.jobs.waits(job.id) == ()


async def test_an_outage_and_its_end(device: Device) -> None:
    async with engine_rig(device) as rig:
        device.runner.available = False
        job = await rig.job(await rig.register(chain("a")), {"x": b"1"})

        async def waits() -> bool:
            return any("work waits: " in w.text for w in await rig.jobs.waits(job.id))

        await eventually(waits, "it says that work waits")
        device.runner.available = True
        await rig.end(job.id)


async def test_a_pull_is_reported_while_it_runs(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.ImagesSettings(pull="missing")
    monkeypatch.setattr("tests.rig.engine.Images", lambda runner: Images(runner, settings))
    name = "registry.test/far:1"
    device.runner.add_remote_image(name, copy)
    device.runner.block_pull(name)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("a", image="registry.test/far")), {"x": b"1"})
        await until(rig, job.id, f"the image {name}, which is being pulled")
        device.runner.release_pull(name)
        await rig.end(job.id)


async def test_no_job_is_waited_for_where_there_is_none(device: Device) -> None:
    async with engine_rig(device) as rig:
        with pytest.raises(JobNotFoundError):
            await rig.jobs.waits("0" * 32)


def test_the_place_in_a_class_counts_those_of_the_class_that_are_left() -> None:
    queue: JobQueue[None] = JobQueue()
    for job in "abc":
        queue.push(job, Priority.NORMAL)
    queue.push("x", Priority.HIGHER)
    queue.remove("a")
    assert [queue.ahead(job) for job in "abcx"] == [None, 0, 1, 0]
