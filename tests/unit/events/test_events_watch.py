"""Events over a real socket: each change once, in order, whatever the connection does."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from claraedge.api.events import WINDOW, EventsServicer
from claraedge.api.transport.calls import CallLimits
from claraedge.api.transport.server import Server
from claraedge.clock import SystemClock
from claraedge.events import log as event_log
from claraedge.events.log import EventLog
from claraedge.ids import new_id
from claraedge.jobs import records
from claraedge.store.database import Transaction
from claraedge.wire.claraedge.v1 import events_pb2 as wire
from claraedge.wire.claraedge.v1.events_pb2_grpc import EventsStub
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually


@dataclass
class Site:
    rig: EngineRig
    log: EventLog
    socket: Path

    async def change(self, job: str, text: str) -> None:
        """One state change of a job."""
        await self.rig.database.write(lambda tx: records.say(tx, job, 0.0, text))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    device = Device(tmp_path)
    device.runner.add_image("copy:1", copy)
    with tempfile.TemporaryDirectory(prefix="ev-") as short:
        socket = Path(short, "s")
        async with engine_rig(device) as rig:
            log = EventLog(rig.database, SystemClock(), new_id)
            await log.prepare()
            service = wire.DESCRIPTOR.services_by_name["Events"]
            limits = CallLimits(unary=10, idle=0.5)
            async with Server(socket, [(service, EventsServicer(log, 0.5))], limits):
                yield Site(rig, log, socket)


class Watch:
    """A client of one stream."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}")
        self._call = EventsStub(self._channel).Watch()  # type: ignore[no-untyped-call]

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        await self._channel.close()

    async def follow(self, **what: object) -> None:
        await self._call.write(wire.WatchRequest(follow=wire.Follow(**what)))  # type: ignore[arg-type]

    async def acknowledge(self, number: int) -> None:
        request = wire.WatchRequest(acknowledge=wire.Acknowledge(number=number))
        await self._call.write(request)

    async def next(self) -> wire.WatchResponse:
        async with asyncio.timeout(10):
            response = await self._call.read()
        assert response is not grpc.aio.EOF, await self._call.details()
        assert isinstance(response, wire.WatchResponse)
        return response

    async def snapshot(self) -> tuple[list[wire.Event], wire.Position]:
        first = await self.next()
        assert first.HasField("reset")
        events = []
        while (response := await self.next()).HasField("event"):
            assert response.event.snapshot
            events.append(response.event)
        return events, response.caught_up.position

    async def status(self) -> grpc.StatusCode:
        async with asyncio.timeout(10):
            with contextlib.suppress(grpc.aio.AioRpcError):  # a read says so at the end
                while await self._call.read() is not grpc.aio.EOF:
                    pass
            code: grpc.StatusCode = await self._call.code()
            return code


async def test_a_watch_begins_with_the_present_state(site: Site) -> None:
    pipeline = await site.rig.register(chain("one"))
    job = await site.rig.job(pipeline, start=False)
    async with Watch(site.socket) as watch:
        await watch.follow(all_jobs=True, pipelines=True, inbox=True)
        events, position = await watch.snapshot()
    assert [e.WhichOneof("subject") for e in events] == ["pipeline", "job", "operator"]
    assert events[1].job.job_id == job.id
    assert events[1].job.state == 1
    assert position.number == site.log.newest


async def test_a_job_is_seen_from_its_creation_to_its_end(site: Site) -> None:
    pipeline = await site.rig.register(chain("one", "two"))
    async with Watch(site.socket) as watch:
        await watch.follow(all_jobs=True)
        await watch.snapshot()
        job = await site.rig.job(pipeline, {"x": b"1"})
        seen = []
        while not seen or seen[-1] != ("job", 3):
            event = (await watch.next()).event
            subject = event.WhichOneof("subject")
            if subject == "job":
                seen.append(("job", event.job.state))
            elif subject == "operator":
                seen.append((event.operator.name, event.operator.status))
        assert [s for s in seen if s[0] != "job"] == [
            ("one", 2), ("one", 3), ("two", 2), ("two", 3),
        ]  # fmt: skip
        assert event.job.job_id == job.id


async def test_a_job_that_is_removed_says_so(site: Site) -> None:
    job = await site.rig.job(await site.rig.register(chain("one")), start=False)
    old = next(u for u in await site.rig.database.read(records.unstarted) if u.id == job.id)
    async with Watch(site.socket) as watch:
        await watch.follow(job_ids=[job.id])
        await watch.snapshot()
        await site.rig.database.write(lambda tx: records.forget_unstarted(tx, old, 0.0))
        event = (await watch.next()).event
    assert (event.job.job_id, event.job.removed) == (job.id, True)


async def test_two_hundred_changes_are_seen_once_each_across_a_dropped_connection(
    site: Site,
) -> None:
    job = (await site.rig.job(await site.rig.register(chain("one")), start=False)).id
    seen: list[str] = []
    numbers: list[int] = []
    position = None

    async def change() -> None:
        for number in range(200):
            await site.change(job, f"change {number}")
            if number % 10 == 0:
                await asyncio.sleep(0.005)

    changing = asyncio.create_task(change())
    while len(seen) < 200:
        async with Watch(site.socket) as watch:
            await watch.follow(job_ids=[job], after=position)
            if position is None:
                events, position = await watch.snapshot()
                seen += [e.message.text for e in events if e.HasField("message")]
            dropped_at = len(seen) + 60
            while len(seen) < min(200, dropped_at):
                event = (await watch.next()).event
                seen.append(event.message.text)
                numbers.append(event.position.number)
                position = event.position
    await changing
    assert seen == [f"change {number}" for number in range(200)]
    assert numbers == sorted(set(numbers))


async def test_changes_arrive_within_the_blink_of_an_eye(
    site: Site, record_property: pytest.RecordProperty
) -> None:
    """The delay is printed, and only a gross one fails: machines of tests are noisy."""
    job = (await site.rig.job(await site.rig.register(chain("one")), start=False)).id
    delays = []
    async with Watch(site.socket) as watch:
        await watch.follow(job_ids=[job])
        await watch.snapshot()
        for number in range(100):
            await site.change(job, str(number))
            committed = time.monotonic()
            assert (await watch.next()).event.message.text == str(number)
            delays.append((time.monotonic() - committed) * 1000)
    median, p99 = statistics.median(delays), sorted(delays)[98]
    record_property("event delay", f"median {median:.1f} ms, p99 {p99:.1f} ms")
    print(f"event delay: median {median:.1f} ms, p99 {p99:.1f} ms")
    assert median < 50


async def test_a_client_may_change_its_mind(site: Site) -> None:
    pipeline = await site.rig.register(chain("one"))
    first = (await site.rig.job(pipeline, start=False)).id
    second = (await site.rig.job(pipeline, start=False)).id
    async with Watch(site.socket) as watch:
        await watch.follow(job_ids=[first])
        await watch.snapshot()
        await site.change(second, "unseen")
        await site.change(first, "seen")
        assert (await watch.next()).event.message.text == "seen"
        await watch.follow(job_ids=[second])
        events, _ = await watch.snapshot()
        assert [e.message.text for e in events if e.HasField("message")] == ["unseen"]
        await site.change(first, "not for us")
        await site.change(second, "for us")
        assert (await watch.next()).event.message.text == "for us"


@pytest.mark.parametrize("position", [{"epoch": "other", "number": 1}, {"number": 10**9}])
async def test_a_foreign_position_is_reset(site: Site, position: dict[str, object]) -> None:
    position.setdefault("epoch", site.log.epoch)
    async with Watch(site.socket) as watch:
        await watch.follow(pipelines=True, after=wire.Position(**position))  # type: ignore[arg-type]
        first = await watch.next()
        assert "not in the log" in first.reset.reason
        assert (await watch.next()).HasField("caught_up")


async def test_a_pruned_position_is_reset_and_numbers_continue(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "KEEP_COUNT", 2)
    job = (await site.rig.job(await site.rig.register(chain("one")), start=False)).id
    for number in range(5):
        await site.change(job, str(number))
    pruning = asyncio.create_task(site.log.run())

    async def pruned() -> bool:
        return not await site.log.has(site.log.epoch, 1)

    await eventually(pruned, "the oldest change is removed", 5)
    pruning.cancel()
    newest = max(event.number for event in await site.log.after(0))
    assert await site.log.has(site.log.epoch, newest - 2)
    await site.change(job, "after")
    async with asyncio.timeout(5):
        await site.log.changed(newest)
    assert site.log.newest == newest + 1


async def test_an_unacknowledged_watch_stops_at_its_window_and_is_dropped(site: Site) -> None:
    job = (await site.rig.job(await site.rig.register(chain("one")), start=False)).id
    async with Watch(site.socket) as watch:
        await watch.follow(job_ids=[job])
        await watch.snapshot()

        def work(tx: Transaction) -> None:
            for number in range(2 * WINDOW + 500):
                records.say(tx, job, 0.0, str(number))

        await site.rig.database.write(work)
        for _ in range(WINDOW - 2):  # job and operator of the snapshot count
            last = (await watch.next()).event
        await watch.acknowledge(last.position.number - 100)
        for _ in range(100):
            last = (await watch.next()).event
        assert last.message.text == str(WINDOW - 3 + 100)
        assert await watch.status() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_what_cannot_be_followed_is_refused(site: Site) -> None:
    for job_id, code in (
        ("nonsense", grpc.StatusCode.INVALID_ARGUMENT),
        (new_id(), grpc.StatusCode.NOT_FOUND),
    ):
        async with Watch(site.socket) as watch:
            await watch.follow(job_ids=[job_id])
            assert await watch.status() is code
