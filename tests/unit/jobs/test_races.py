"""Between two steps: nothing is left behind, run twice, or run for a job that has ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.jobs import records
from claraedge.jobs.engine.engine import Engine
from claraedge.jobs.model import JobState, JobStatus
from claraedge.jobs.scheduling.scheduler import Scheduler
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import LABEL_INSTANCE, LABEL_OPERATOR, ContainerSpec
from claraedge.waiting import searches
from tests.rig.device import Device, copy, emptied, fail
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually


class Podman(MemoryRunner):
    """Loses answers, and may be slow."""

    def __init__(self) -> None:
        super().__init__()
        self.answers_lost: list[str] = []
        """Operators whose next container is created, but the answer is lost."""
        self.removing = 0.0
        """Duration of a removal in seconds."""
        self.removals_lost = 0
        """So many removals are not answered, and do nothing."""
        self.gone_at_start: list[str] = []
        """Operators whose next container is removed by others just before its start."""
        self.image_gone = False
        """Its image goes with it."""

    async def create(self, spec: ContainerSpec) -> str:
        container = await super().create(spec)
        if spec.labels[LABEL_OPERATOR] in self.answers_lost:
            self.answers_lost.remove(spec.labels[LABEL_OPERATOR])
            raise RunnerUnavailableError("the answer was lost")
        return container

    async def start(self, container: str) -> None:
        (spec,) = (e.spec for e in self._containers.values() if e.id == container)
        operator = spec.labels[LABEL_OPERATOR]
        if operator in self.gone_at_start:
            self.gone_at_start.remove(operator)
            self.vanish(operator)
            if self.image_gone:
                self.drop_image(spec.image)
            raise ContainerError(f"no container with name or ID {container} found")
        await super().start(container)

    async def remove(self, container: str) -> None:
        await asyncio.sleep(self.removing)
        if self.removals_lost:
            self.removals_lost -= 1
            raise RunnerUnavailableError("no answer")
        await super().remove(container)


@pytest.fixture
def podman() -> Podman:
    return Podman()


@pytest.fixture
def device(tmp_path: Path, podman: Podman) -> Device:
    podman.add_image("copy:1", copy)
    podman.add_image("fail:1", fail)
    return Device(state=tmp_path, runner=podman)


async def made(rig: EngineRig, count: int) -> None:
    await eventually(
        lambda: len(rig.device.runner.created) >= count, f"{count} containers are made"
    )


def ran(device: Device) -> list[str]:
    return [spec.labels[LABEL_OPERATOR] for spec in device.runner.started]


async def test_a_container_made_ahead_whose_answer_was_lost_does_not_fail_its_operator(
    device: Device, podman: Podman
) -> None:
    podman.answers_lost.append("two")
    podman.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        await rig.until_runs("one")
        await made(rig, 2)
        podman.release("one")
        ended = await rig.end(job.id)
        assert (ended.status, ended.messages) == (JobStatus.HEALTHY, ())
        assert ran(device) == ["one", "two"]
        await emptied(podman)


async def test_a_container_made_ahead_whose_answer_was_lost_goes_with_its_job(
    device: Device, podman: Podman
) -> None:
    podman.answers_lost.append("two")
    podman.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two", image="fail")), {"x": b"1"})
        await rig.until_runs("one")
        await made(rig, 2)
        podman.release("one")
        assert (await rig.end(job.id)).status is JobStatus.FAULTED
        await emptied(podman)


async def test_what_was_made_for_an_attempt_that_failed_goes_before_its_successor_is_made(
    device: Device, podman: Podman
) -> None:
    attempts = 0

    async def second_time(spec: ContainerSpec) -> int:
        nonlocal attempts
        attempts += 1
        return 5 if attempts == 1 else await copy(spec)

    podman.add_image("shaky:1", second_time)
    podman.removing = 0.05
    definition = (
        chain("one", "two", "three")
        .replace("image: copy", "image: shaky", 1)
        .replace("  input:", "  retry: {attempts: 2, backoff: 0}\n  input:", 1)
    )
    podman.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(definition), {"x": b"1"})
        await rig.until_runs("one")
        await made(rig, 3)
        podman.release("one")
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY, ended.messages
        assert ran(device) == ["one", "one", "two", "three"]
        assert "operators/three/x" in await rig.listing(job.payload)
        await emptied(podman)


async def test_a_removal_that_is_not_answered_is_made_up_for_while_nothing_else_happens(
    device: Device, podman: Podman
) -> None:
    podman.removals_lost = 1
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        await emptied(podman)
        assert podman.removals_lost == 0


async def test_a_container_that_others_remove_before_its_start_is_made_again(
    device: Device, podman: Podman
) -> None:
    podman.gone_at_start.append("two")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY
        assert ended.messages == (
            "operator two: interrupted (its container was removed before its start); run again",
        )
        assert ran(device) == ["one", "two"]


async def test_an_image_that_is_removed_between_create_and_start_is_what_the_job_tells(
    device: Device, podman: Podman
) -> None:
    podman.gone_at_start.append("two")
    podman.image_gone = True
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.FAULTED
        assert "is not on this device" in ended.messages[-1]
        await emptied(podman)


async def test_an_operator_that_is_chosen_while_its_job_is_cancelled_is_not_started(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, proceed = asyncio.Event(), asyncio.Event()
    read = Scheduler.read_capacity

    async def slow(self: Scheduler, candidates: object, **more: bool) -> None:
        if [c.operator for c in candidates] == ["two"]:  # type: ignore[attr-defined]
            reading.set()
            await proceed.wait()
        await read(self, candidates, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Scheduler, "read_capacity", slow)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        async with asyncio.timeout(DEADLINE):
            await reading.wait()
        cancelling = asyncio.create_task(rig.jobs.cancel(job.id, "enough"))
        await rig.until(job.id, lambda job: job.cancel_reason is not None)
        await eventually(lambda: any(a.ending for a in rig.engine._active.values()), "it is ended")
        proceed.set()
        assert (await cancelling).status is JobStatus.CANCELED
        assert ran(device) == ["one"]
        await emptied(device.runner)


async def test_the_engine_rests_while_an_operator_runs_on_after_an_outage(
    device: Device, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 0
    schedule = Engine._schedule

    async def counted(self: Engine) -> bool:
        nonlocal rounds
        rounds += 1
        return await schedule(self)

    monkeypatch.setattr(Engine, "_schedule", counted)
    podman.block("long")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("long")), {"x": b"1"})
        await rig.until_runs("long")
        podman.answers_lost.append("other")
        other = await rig.job(await rig.register(chain("other")), {"x": b"1"})
        assert (await rig.end(other.id)).status is JobStatus.HEALTHY
        podman.available = False
        podman.removals_lost = 1
        rig.expect_orphans()
        await eventually(rig.engine.warnings, "there is a warning")
        podman.available = True
        await eventually(lambda: rig.engine._orphans.soonest() != 0.0, "the orphans were tried")
        before = rounds
        await asyncio.sleep(0.5)
        assert rounds - before <= 2
        podman.release("long")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_an_outage_that_nobody_meets_any_more_is_over(
    device: Device, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claraedge.jobs.engine.pause.LONGEST", 0.6)
    podman.block("long")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("long")), {"x": b"1"})
        await rig.until_runs("long")
        podman.available = False
        rig.expect_orphans()
        await eventually(rig.engine.warnings, "there is a warning")
        podman.available = True
        await eventually(lambda: not rig.engine.warnings(), "no warning is left")
        podman.release("long")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_a_container_that_appears_after_the_first_scan_is_removed_by_the_second(
    device: Device, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "LATE", 0.3)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.end(job.id)
        await emptied(podman)
    (spec,) = podman.created
    async with engine_rig(device):
        await podman.create(spec)  # what a killed daemon had asked for
        await emptied(podman)


async def test_a_container_that_files_are_read_from_is_not_removed_under_the_reader(
    device: Device, podman: Podman
) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.end(job.id)
        await emptied(podman)
        labels = {LABEL_INSTANCE: device.instance}
        await podman_reader(podman, labels)
        rig.expect_orphans()
        await eventually(lambda: rig.engine._orphans.soonest() != 0.0, "the orphans were tried")
        assert len(await podman.containers({})) == 1
        rig.expect_orphans()
        await emptied(podman)


async def podman_reader(podman: Podman, labels: dict[str, str]) -> None:
    """A container without a job, as one is made to read files of its image."""
    (spec,) = podman.created
    await MemoryRunner.create(
        podman,
        ContainerSpec(
            name="reader", image=spec.image, labels=labels, mounts=(), log_path=spec.log_path
        ),
    )


async def test_a_job_that_has_stopped_is_not_ended_once_more(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.end(job.id)
        await rig.database.write(
            lambda tx: records.end_job(tx, job.id, JobStatus.EVICTED, "evicted: too late", 1.0)
        )
        found = await rig.jobs.get(job.id)
        assert (found.state, found.status) == (JobState.STOPPED, JobStatus.HEALTHY)
        assert (found.ending, found.messages) == (None, ())


async def test_what_an_operator_wrote_that_failed_and_what_was_made_after_it_is_removed(
    device: Device, podman: Podman
) -> None:
    async def half(spec: ContainerSpec) -> int:
        await copy(spec)
        return 4

    podman.add_image("half:1", half)
    podman.block("two")
    definition = chain("one", "two", "three").replace("image: copy", "image: half", 2)
    definition = definition.replace("image: half", "image: copy", 1)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(definition), {"x": b"1"})
        await made(rig, 3)
        operators = rig.payloads.tree.folder(job.payload) / "operators"
        assert {path.name for path in operators.iterdir()} == {"one", "two", "three"}
        podman.release("two")
        assert (await rig.end(job.id)).status is JobStatus.FAULTED
        await eventually(
            lambda: [path.name for path in operators.iterdir()] == ["one"], "only the first is left"
        )
        assert (operators / "one" / "1" / "x").read_bytes() == b"1"
