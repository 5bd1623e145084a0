"""A job ends as was decided, whenever that was and whatever its operators say; and it does end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.clock import SystemClock
from claraedge.errors import StorageFullError
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.engine.service_leases import ServiceLeases
from claraedge.jobs.engine.termination import Termination
from claraedge.jobs.engine.timeouts import Timeouts
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.jobs.scheduling.scheduler import Scheduler
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import LABEL_OPERATOR, ContainerSpec, Phase
from tests.rig.device import Device, copy, emptied, fail
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually


class Podman(MemoryRunner):
    """One whose containers may take their time to end."""

    def __init__(self) -> None:
        super().__init__()
        self.stubborn: set[str] = set()
        """Operators that no stop ends."""
        self.vanishing: set[str] = set()
        """Operators whose containers somebody removes while they are stopped."""

    async def stop(self, container: str, grace: float) -> bool:
        (operator,) = (
            e.spec.labels.get(LABEL_OPERATOR, "")
            for e in self._containers.values()
            if e.id == container
        )
        if operator in self.stubborn:
            await asyncio.Event().wait()
        if operator in self.vanishing:
            self.vanishing.remove(operator)
            self.vanish(operator)
            return True
        return await super().stop(container, grace)


@pytest.fixture
def podman() -> Podman:
    return Podman()


@pytest.fixture
def device(tmp_path: Path, podman: Podman) -> Device:
    podman.add_image("copy:1", copy)
    podman.add_image("fail:1", fail)
    podman.add_image("polite:1", polite)
    podman.add_image("mute:1", mute)
    return Device(state=tmp_path, runner=podman)


async def polite(spec: ContainerSpec) -> int:
    """Writes half of what it should, and ends by TERM as if all was well."""
    await copy(spec)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return 0
    raise AssertionError


async def mute(_spec: ContainerSpec) -> int:
    """A service that never accepts connections."""
    await asyncio.Event().wait()
    return 0


def with_service(*operators: str) -> str:
    """A chain whose first operator asks for the service that never listens."""
    service = (
        "  services:\n  - name: mute\n    container: {image: mute, tag: '1'}\n"
        "    connections: {http: [{name: MUTE, port: 8080}]}\n"
    )
    return chain(*operators).replace("  input:\n", f"{service}  input:\n", 1)


async def test_an_operator_that_ends_well_because_its_job_was_cancelled_did_not_complete(
    device: Device,
) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", image="polite")), {"x": b"1"})
        await rig.until_runs("one")
        await rig.jobs.cancel(job.id, "enough")
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.CANCELED
        assert ended.operators[0].status is OperatorStatus.FAULTED
        assert "operator one: was stopped because its job ends" in ended.messages[0]
        assert "operators/one/x" not in await rig.listing(job.payload)


async def test_an_operator_that_ends_well_because_its_job_took_too_long_did_not_complete(
    device: Device,
) -> None:
    device.timeouts = Timeouts(default=0.3, maximum=1)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", image="polite")), {"x": b"1"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.TERMINATED
        assert ended.operators[0].status is OperatorStatus.FAULTED


async def test_an_operator_that_ends_well_before_anybody_stops_it_has_completed(
    device: Device, podman: Podman
) -> None:
    podman.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.until_runs("one")
        podman.release("one")
        cancelled = await rig.jobs.cancel(job.id, "enough")
        ended = await rig.end(cancelled.id)
        completed = ended.operators[0].status is OperatorStatus.COMPLETED
        assert ended.status is (JobStatus.HEALTHY if completed else JobStatus.CANCELED)


async def test_an_operator_that_was_asked_to_end_did_not_complete_for_the_next_daemon_either(
    device: Device, podman: Podman
) -> None:
    podman.stubborn.add("one")
    podman.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.until_runs("one")
        await rig.jobs.cancel(job.id, "enough")
    await ended_without_daemon(podman, "one")  # as TERM makes it end
    assert [c.exit_code for c in await podman.containers({})] == [0]
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.CANCELED
        assert ended.messages[-1] == "canceled: enough"


@pytest.mark.parametrize(
    ("image", "extra", "status"),
    [("copy", "timeout: 1", JobStatus.TERMINATED), ("fail", "", JobStatus.FAULTED)],
)
async def test_how_a_job_ends_is_known_to_the_next_daemon_while_its_operators_stop(
    device: Device, podman: Podman, image: str, extra: str, status: JobStatus
) -> None:
    """By the operator that ended first, whoever cancels the job after that."""
    podman.block("other")
    podman.stubborn.add("other")
    if image == "copy":
        podman.block("one")
    definition = (
        chain("one", image=image, extra=[extra] if extra else [])
        + (chain("other").partition("operators:\n")[2])
    )
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(definition), {"x": b"1"})
        await rig.until_runs("other")
        await rig.until(job.id, lambda job: job.operators[0].status is OperatorStatus.FAULTED)
        await rig.jobs.cancel(job.id, "too late")
    podman.stubborn.clear()
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is status
        assert not any("canceled" in message for message in ended.messages)


async def test_an_operator_over_its_timeout_is_not_run_again_where_its_container_vanishes(
    device: Device, podman: Podman
) -> None:
    podman.block("one")
    podman.vanishing.add("one")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one", extra=["timeout: 1"]))
        job = await rig.job(pipeline, {"x": b"1"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.TERMINATED
        assert [o.attempt for o in ended.operators] == [1]
        assert "took longer than its 1 s" in ended.messages[0]


class AheadClock:
    """Sets both clocks forward: the time that passes while no daemon runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        now, elapsed = SystemClock.now, SystemClock.elapsed
        monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + self.seconds)
        monkeypatch.setattr(SystemClock, "elapsed", lambda clock: elapsed(clock) + self.seconds)


async def ended_without_daemon(podman: Podman, *operators: str) -> None:
    """Lets these operators end while no daemon runs."""
    for operator in operators:
        podman.release(operator)

    async def ended() -> bool:
        return not any(
            c.phase is Phase.RUNNING and c.labels[LABEL_OPERATOR] in operators
            for c in await podman.containers({})
        )

    await eventually(ended, "the operators have ended")


@pytest.mark.parametrize("extra", ["", "timeout: 60"])
async def test_what_ended_in_time_while_no_daemon_ran_did_not_take_too_long(
    device: Device, podman: Podman, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    clock = AheadClock(monkeypatch)
    podman.block("one")
    definition = chain("one", "two", extra=[extra] if extra else [])
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(definition), {"x": b"1"})
        await rig.until_runs("one")
    await ended_without_daemon(podman, "one")
    clock.seconds = 3600.0
    podman.block("two")
    async with engine_rig(device) as rig:  # its time-out is 600 s
        await rig.until_runs("two")
    async with engine_rig(device) as rig:  # and the next daemon reads the same time
        podman.release("two")
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY, ended.messages
        assert ended.run_time.counted < 60


async def test_what_ran_on_for_too_long_while_no_daemon_ran_is_ended(
    device: Device, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = AheadClock(monkeypatch)
    podman.block("one")
    podman.block("other")
    definition = chain("one") + chain("other").partition("operators:\n")[2]
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(definition), {"x": b"1"})
        await rig.until_runs("one")
        await rig.until_runs("other")
    await ended_without_daemon(podman, "one")
    clock.seconds = 3600.0
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.TERMINATED
        assert "timed out" in ended.messages[0]


async def test_what_ended_too_late_while_no_daemon_ran_took_too_long(
    device: Device, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = AheadClock(monkeypatch)
    podman.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", extra=["timeout: 60"])), {"x": b"1"})
        await rig.until_runs("one")
    clock.seconds = 100.0
    await ended_without_daemon(podman, "one")
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.TERMINATED
        assert "took longer than its 60 s" in ended.messages[0]


async def test_a_job_whose_container_went_while_no_daemon_ran_is_run_again_in_time(
    device: Device, podman: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = AheadClock(monkeypatch)
    podman.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.until_runs("one")
    podman.vanish("one")
    podman.release("one")
    clock.seconds = 3600.0
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY, ended.messages
        assert ended.operators[0].attempt == 2


async def test_a_job_that_is_cancelled_before_its_services_were_even_asked_for_ends(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = ServiceLeases.begin

    def begun(self: ServiceLeases, active: ActiveJob) -> None:
        begin(self, active)
        active.end(JobStatus.CANCELED)  # as by a cancel in the same turn of the loop

    monkeypatch.setattr(ServiceLeases, "begin", begun)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(with_service("one")), {"x": b"1"})
        assert (await rig.end(job.id)).status is JobStatus.CANCELED
        await emptied(device.runner)


async def test_a_job_that_is_cancelled_while_it_is_chosen_asks_for_no_services(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, proceed = asyncio.Event(), asyncio.Event()
    read = Scheduler.read_capacity

    async def slow(self: Scheduler, candidates: object, **more: bool) -> None:
        if candidates and not proceed.is_set():
            reading.set()
            await proceed.wait()
        await read(self, candidates, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Scheduler, "read_capacity", slow)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(with_service("one")), {"x": b"1"})
        async with asyncio.timeout(DEADLINE):
            await reading.wait()
        cancelling = asyncio.create_task(rig.jobs.cancel(job.id, "enough"))
        await eventually(lambda: job.id in rig.engine._active, "the job is active")
        proceed.set()
        await cancelling
        assert (await rig.end(job.id)).status is JobStatus.CANCELED
        assert device.runner.created == []


async def test_a_failure_of_services_that_cannot_be_recorded_is_tried_again_after_a_pause(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide, tries = Termination.decide, 0

    async def full(self: Termination, active: ActiveJob, status: JobStatus, text: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StorageFullError("the disk is full")
        await decide(self, active, status, text)

    monkeypatch.setattr(Termination, "decide", full)
    definition = chain("one", extra=["models: [{name: absent}]"])
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(definition), {"x": b"1"})
        began = asyncio.get_running_loop().time()
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.FAULTED
        assert "absent" in ended.messages[0]
        assert tries == 3
        assert asyncio.get_running_loop().time() - began > 1, "it did not pause"
