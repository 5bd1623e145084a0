"""The effects of calls whose caller disappears, and an engine that has nothing to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from claraedge.errors import FileCollisionError, PayloadStateError
from claraedge.jobs.model import JobStatus, Priority
from claraedge.store.database import Transaction
from tests.rig.device import Device
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually


@contextmanager
def blocked_writer(rig: EngineRig) -> Iterator[None]:
    """Blocks the writer of the database, so that all changes wait."""
    entered, gate = threading.Event(), threading.Event()

    def work(_: Transaction) -> None:
        entered.set()
        assert gate.wait(DEADLINE)

    blocking = asyncio.ensure_future(rig.database.write(work))
    try:
        yield
    finally:
        gate.set()
        blocking.add_done_callback(lambda task: task.exception())


async def gone(call: asyncio.Task[object]) -> None:
    """Cancels a call while its change waits to be written."""
    for _ in range(50):  # far enough to have queued the change
        await asyncio.sleep(0.002)
    assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def reusable(rig: EngineRig, /, **files: bytes) -> str:
    payload = (await rig.payloads.create({})).id
    async with await rig.payloads.upload(payload) as upload:
        for name, content in files.items():
            await upload.write(name, 0, content)
        await upload.commit()
    return payload


async def test_a_job_whose_starter_disappeared_runs_all_the_same(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"}, start=False)
        with blocked_writer(rig):
            await gone(asyncio.ensure_future(rig.jobs.start(job.id, {})))
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_a_cancel_whose_caller_disappeared_ends_the_job_all_the_same(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.until_runs("one")
        with blocked_writer(rig):
            await gone(asyncio.ensure_future(rig.jobs.cancel(job.id, "wrong slice")))
        assert (await rig.end(job.id)).status is JobStatus.CANCELED


async def test_an_outage_without_work_is_over_once_podman_answers(device: Device) -> None:
    device.runner.available = False
    async with engine_rig(device) as rig:
        assert rig.engine.warnings() != []
        device.runner.available = True
        await eventually(lambda: not rig.engine.warnings(), "no warning is left")
        rounds = 0
        schedule = rig.engine._schedule

        async def counted() -> None:
            nonlocal rounds
            rounds += 1
            await schedule()

        rig.engine._schedule = counted  # type: ignore[method-assign]
        await asyncio.sleep(0.2)
        assert rounds == 0  # nothing to do: it sleeps


async def test_input_payloads_are_copied_into_the_job(device: Device) -> None:
    async with engine_rig(device, run=False) as rig:
        first, second = await reusable(rig, a=b"1"), await reusable(rig, b=b"22")
        job = await rig.jobs.create(
            pipeline=await rig.register(chain("one")),
            name="job",
            priority=Priority.NORMAL,
            input_payloads=[first, second],
            entries={},
        )
        assert await rig.listing(job.payload) == ["input/a", "input/b"]
        _, path = await rig.payloads.find(job.payload, "input/b")
        assert path.read_bytes() == b"22"


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b")])
async def test_input_payloads_that_collide_leave_no_job_and_no_bytes(
    device: Device, names: tuple[str, str]
) -> None:
    async with engine_rig(device, run=False) as rig:
        first, second = [await reusable(rig, **{name: b"1"}) for name in names]
        before = sorted(p.name for p in rig.payloads.tree.payloads.iterdir())
        with pytest.raises(FileCollisionError):
            await rig.jobs.create(
                pipeline=await rig.register(chain("one")),
                name="job",
                priority=Priority.NORMAL,
                input_payloads=[first, second],
                entries={},
            )
        assert await rig.listed() == []
        assert sorted(p.name for p in rig.payloads.tree.payloads.iterdir()) == before


async def test_a_payload_of_a_job_is_no_input_of_another(device: Device) -> None:
    async with engine_rig(device, run=False) as rig:
        pipeline = await rig.register(chain("one"))
        job = await rig.job(pipeline, start=False)
        with pytest.raises(PayloadStateError, match="only reusable ones"):
            await rig.jobs.create(
                pipeline=pipeline,
                name="job",
                priority=Priority.NORMAL,
                input_payloads=[job.payload],
                entries={},
            )
