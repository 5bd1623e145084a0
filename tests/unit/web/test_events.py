"""Server-sent events of `/v1/events`: changes as they happen, and streams that are resumed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11

from claraedge.wire.nvidia.clara.platform import jobs_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE
from tests.unit.web.conftest import Client, Connection, Daemon, daemon_in


@dataclass
class Event:
    id: str = ""
    event: str = "message"
    data: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass
class Source:
    """What a browser's EventSource reads."""

    connection: Connection
    buffer: bytearray = field(default_factory=bytearray)

    async def next(self) -> Event | None:
        """The next event; None at the end of the stream."""
        while (end := self.buffer.find(b"\n\n")) < 0:
            part = await self.connection.event()
            if not isinstance(part, h11.Data):
                return None
            self.buffer += part.data
        text = bytes(self.buffer[:end]).decode()
        del self.buffer[: end + 2]
        lines = (line.partition(": ") for line in text.splitlines() if line != ":")
        return Event(**{name: value for name, _, value in lines})


@asynccontextmanager
async def opened(http: Client, query: str = "", last: str = "") -> AsyncIterator[Source]:
    headers = {"Last_Event_ID": last} if last else {}
    async with http.connected() as connection, asyncio.timeout(DEADLINE):
        await connection.ask("GET", f"/v1/events{query}", b"", **headers)
        head = await connection.event()
        assert head.status_code == 200
        assert dict(head.headers)[b"content-type"] == b"text/event-stream"
        yield Source(connection)


async def until(source: Source, kind: str) -> list[Event]:
    """The events up to the first one of a kind, which is the last one."""
    found: list[Event] = []
    while not found or found[-1].event != kind:
        event = await source.next()
        assert event is not None, [one.event for one in found]
        found.append(event)
    return found


async def test_the_present_state_and_then_changes(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    async with opened(http) as source:
        reset, *snapshot, caught_up = await until(source, "caughtUp")
        assert reset.event == "reset"
        assert [(one.event, one.json["pipeline"]["name"]) for one in snapshot] == [
            ("pipeline", "chain")
        ]
        assert not any(one.id for one in snapshot)
        assert caught_up.id
        job = (await daemon.create(pipeline)).job_id.value
        (change,) = await until(source, "job")
        assert change.json["job"]["jobId"] == job
        epoch, number = change.id.split("-")
        assert change.json["position"] == {"epoch": epoch, "number": number}


async def test_only_what_the_query_selects(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    jobs = [(await daemon.create(pipeline)).job_id.value for _ in range(3)]
    async with opened(http, f"?jobIds={jobs[0]}&jobIds={jobs[2]}") as source:
        *found, _ = await until(source, "caughtUp")
        followed = {one.json["job"]["jobId"] for one in found if one.event == "job"}
        assert followed == set(jobs[::2])


async def test_no_change_is_lost_or_doubled_when_streams_are_dropped_and_resumed(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(chain("copy"))
    jobs, drops, changes = 250, 100, 500
    ready = asyncio.Barrier(3)

    async def work() -> None:
        await ready.wait()
        for _ in range(jobs):
            made = await daemon.create(pipeline)
            await daemon.jobs.Cancel(jobs_pb2.JobsCancelRequest(job_id=made.job_id))

    async def begin() -> str:
        """Returns the id of the last event before the work."""
        async with opened(http, "?allJobs=true") as source:
            last = (await until(source, "caughtUp"))[-1].id
        await ready.wait()
        return last

    async def read(last: str, changes: int) -> list[Event]:
        """Returns the events after one, up to a number of changes of jobs."""
        found: list[Event] = []
        async with opened(http, "?allJobs=true", last) as source:
            while sum(one.event == "job" for one in found) < changes:
                event = await source.next()
                assert event is not None
                assert event.event != "reset"
                if event.event != "caughtUp":
                    found.append(event)
        return found

    async def in_one_stream() -> list[Event]:
        return await read(await begin(), changes)

    async def in_many_streams() -> list[Event]:
        last, found = await begin(), list[Event]()
        for drop in range(drops + 1):
            rest = changes - sum(one.event == "job" for one in found)
            found += await read(last, rest if drop == drops else min(rest, drop % 9))
            last = found[-1].id if found else last
        return found

    one, many, _ = await asyncio.gather(in_one_stream(), in_many_streams(), work())
    ids = [event.id for event in one]
    assert len(set(ids)) == len(ids) >= changes
    assert [event.id for event in many] == ids


async def test_a_resumed_stream_is_open_before_anything_changes(
    daemon: Daemon, http: Client
) -> None:
    async with opened(http) as source:
        last = (await until(source, "caughtUp"))[-1].id
    async with opened(http, last=last) as source:  # it has read the head of the answer
        assert await source.next() == Event()  # a comment


async def test_a_position_of_another_history_begins_with_the_present_state(
    daemon: Daemon, http: Client
) -> None:
    async with opened(http, last="0123456789abcdef0123456789abcdef-7") as source:
        assert (await until(source, "caughtUp"))[0].event == "reset"


async def test_a_stream_ends_with_the_daemon(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        async with http.connected() as connection:
            await connection.ask("GET", "/v1/events", b"")
            source = Source(connection)
            assert (await connection.event()).status_code == 200
            await until(source, "caughtUp")
            daemon.ended.cancel()
            async with asyncio.timeout(DEADLINE):
                try:
                    while (event := await source.next()) is not None:
                        assert event.event == "failure"
                except h11.RemoteProtocolError:
                    return
    raise AssertionError("the stream ended as if it were complete")


async def test_a_stream_is_resumed_after_a_restart(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        async with opened(http) as source:
            last = (await until(source, "caughtUp"))[-1].id
        job = (await daemon.create(await daemon.register(chain("copy")))).job_id.value
    async with (
        daemon_in(folder) as daemon,
        opened(Client(daemon.config.http_socket), last=last) as source,
    ):
        *_, change = await until(source, "job")
        assert change.json["job"]["jobId"] == job
