"""What a killed daemon, or a machine that went down, leaves: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.errors import ContainerError
from claraedge.fs import files
from claraedge.jobs.model import JobStatus, OperatorStatus
from tests.rig.device import Device, all_stopped, emptied
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain


def operators_started(device: Device) -> list[str]:
    return [spec.labels["io.claraedge.operator"] for spec in device.runner.started]


async def test_a_running_container_is_adopted_and_runs_once(device: Device) -> None:
    device.runner.block("two")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two", "three")), {"x": b"1"})
        await rig.until_runs("two")
    async with engine_rig(device) as rig:
        device.runner.release("two")
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY
        assert "operators/three/x" in await rig.listing(job.payload)
    assert operators_started(device) == ["one", "two", "three"]
    await emptied(device.runner)


async def test_a_container_that_ended_meanwhile_is_collected(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        await rig.until_runs("one")
    device.runner.release("one")
    await all_stopped(device.runner)
    async with engine_rig(device) as rig:
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert operators_started(device) == ["one", "two"]


async def test_a_power_cut_runs_the_operator_again_and_counts_no_failure(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        spec = await rig.until_runs("one")
        (spec.mounts[-1].source / "half").write_bytes(b"half")
    device.runner.cut_power()
    device.boot = "boot-2"
    device.runner.release("one")
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY
        assert ended.operators[0].interruptions == 1
        assert "interrupted" in ended.messages[0]
        assert "operators/one/half" not in await rig.listing(job.payload)
    assert operators_started(device) == ["one", "one", "two"]


async def test_an_end_that_nobody_saw_before_the_machine_went_down_does_not_count(
    device: Device,
) -> None:
    """A shutdown ends processes one by one; what is left of an operator may end with 0."""
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        await rig.until_runs("one")
    device.runner.release("one")
    await all_stopped(device.runner)
    device.boot = "boot-2"
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY
        assert ended.operators[0].interruptions == 1
    assert operators_started(device) == ["one", "one", "two"]
    await emptied(device.runner)


async def test_an_operator_that_is_interrupted_too_often_faults(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")))
        await rig.until_runs("one")
    for _ in range(3):
        device.runner.cut_power()
        async with engine_rig(device) as rig:
            await rig.until_runs("one")
    device.runner.cut_power()
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
    assert ended.status is JobStatus.FAULTED
    assert ended.operators[0].status is OperatorStatus.FAULTED
    assert "interrupted 4 times" in ended.messages[-1]


async def test_a_container_that_somebody_removed_is_run_again(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.until_runs("one")
        device.runner.release("one")
        device.runner.block("one")
        device.runner.vanish("one")
        await rig.until_runs("one")
        device.runner.release("one")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


@pytest.mark.parametrize(
    "step", ["operator_attempt", "operator_running", "start", "operator_ended", "job_stopped"]
)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_at_any_step_ends_in_one_healthy_job(
    device: Device, step: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon is cut off around each record and each act; the next one finishes the job."""
    reached = asyncio.Event()
    forever = asyncio.Event()

    if step == "start":
        real_start = device.runner.start

        async def start(container: str) -> None:
            if moment == "after":
                await real_start(container)
            reached.set()
            await forever.wait()

        monkeypatch.setattr(device.runner, "start", start)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"}, start=False)
        if step != "start":
            real_write = rig.database.write

            async def write(work: object) -> object:
                names: list[str] = []

                def watched(tx: object) -> object:
                    class Spy:
                        def run(self, query: str, **parameters: object) -> int:
                            names.append(query)
                            if query == step and moment == "before":
                                raise _CutOffError
                            return tx.run(query, **parameters)  # type: ignore[attr-defined,no-any-return]

                        def __getattr__(self, name: str) -> object:
                            return getattr(tx, name)

                    return work(Spy())  # type: ignore[operator]

                try:
                    result = await real_write(watched)  # type: ignore[arg-type]
                except _CutOffError:
                    reached.set()
                    await forever.wait()
                    raise
                if step in names:
                    reached.set()
                    await forever.wait()
                return result

            monkeypatch.setattr(rig.database, "write", write)
        starting = asyncio.create_task(rig.jobs.start(job.id, {}))
        async with asyncio.timeout(10):
            await reached.wait()
        starting.cancel()
    monkeypatch.undo()
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY, ended.messages
        assert "operators/two/x" in await rig.listing(job.payload)
    assert operators_started(device) == ["one", "two"]
    await emptied(device.runner)


class _CutOffError(Exception):
    pass


async def test_a_container_without_a_row_is_removed_at_start(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")))
        await rig.until_runs("one")
        await rig.database.write(
            lambda tx: tx.run("operator_attempt", job=job.id, name="one", attempt=9, image="x")
        )
    async with engine_rig(device):
        names = [c.name for c in await device.runner.containers({})]
        assert not any(name.endswith("-1") for name in names)


async def test_a_cancel_that_was_recorded_is_carried_out_after_a_restart(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")))
        await rig.until_runs("one")
        await rig.database.write(lambda tx: tx.run("job_cancelling", id=job.id, reason="storm"))
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.CANCELED
        assert "canceled: storm" in ended.messages
    assert operators_started(device) == ["one"]


async def test_queued_jobs_keep_their_order_over_a_restart(device: Device) -> None:
    device.max_operators = 1
    async with engine_rig(device, run=False) as rig:
        pipeline = await rig.register(chain("one"))
        jobs = [await rig.job(pipeline) for _ in range(5)]
    async with engine_rig(device) as rig:
        for job in jobs:
            await rig.end(job.id)
    started = [spec.labels["io.claraedge.job"] for spec in device.runner.started]
    assert started == [job.id for job in jobs]


async def test_a_foreign_owner_in_the_output_is_reclaimed(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "is_foreign", lambda _: True)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert len(device.runner.reclaimed) == 1


async def test_an_output_that_cannot_be_given_back_fails_its_operator_with_the_reason(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(folder: Path) -> None:
        raise ContainerError(f"{folder.name} could not be given back: no such user")

    monkeypatch.setattr(files, "is_foreign", lambda _: True)
    monkeypatch.setattr(device.runner, "reclaim", refused)
    async with engine_rig(device) as rig:
        ended = await rig.end((await rig.job(await rig.register(chain("one")), {"x": b"1"})).id)
    assert ended.status is JobStatus.FAULTED
    assert ended.messages == (
        "operator one: 1 could not be given back: no such user; its last line: copied",
    )
