"""A whole daemon on a disk that is low: what waits, what is refused, who is evicted, how it ends.

The disk of the containers is the in-memory runner's, whose figures a test sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import claraedge.daemon.disks
from claraedge.appliance import disk_guard
from claraedge.config import Config, DiskSettings, RetentionSettings
from claraedge.jobs.retention import evictions
from claraedge.runner.protocol import Space
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.nvidia.clara.platform import jobs_pb2, models_pb2, payloads_pb2
from claraedge.wire.nvidia.clara.platform.models_pb2_grpc import ModelsStub
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import HEADER, Daemon, an_id, contents, daemon_in

GIB = 1 << 30
ROOM = Space(free=50 * GIB, total=100 * GIB)
LOW = Space(free=9 * GIB, total=100 * GIB)
OUT = Space(free=GIB // 2, total=100 * GIB)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_guard, "_PAUSE", 0.01)
    monkeypatch.setattr(disk_guard, "_PAUSE_LOW", 0.01)

    async def ample() -> tuple[int, int]:
        return ROOM.free, ROOM.total

    # The disk that the tests run on never matters.
    monkeypatch.setattr(claraedge.daemon.disks, "measured", lambda _: ample)


@pytest.fixture
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    async with daemon_in(folder, disk=DiskSettings()) as daemon:
        yield daemon


async def warnings(daemon: Daemon) -> list[str]:
    reply = await daemon.appliance.Status(appliance_pb2.StatusRequest())
    return [text for text in reply.warnings if "disk" in text]


async def becomes(daemon: Daemon, space: Space) -> None:
    """The disk of the containers is like this, and the daemon knows."""
    daemon.runner.space = space
    low = space is not ROOM

    async def known() -> bool:
        return bool(await warnings(daemon)) is low

    await eventually(known, "the daemon knows the space")


async def items(daemon: Daemon) -> list[tuple[str, str]]:
    replies = [r async for r in daemon.inbox.List(appliance_pb2.ListItemsRequest())]
    names = appliance_pb2.ItemState.Name
    return [
        (names(item.state).removeprefix("ITEM_STATE_"), item.reason)
        for reply in replies
        for item in reply.items
    ]


async def test_below_the_soft_limit_everything_new_waits_and_then_continues(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    before = await daemon.run(pipeline, x=b"before")
    made = await daemon.create(pipeline)
    await daemon.upload(made.payload_id.value, ("x", b"1"))
    folder = daemon.config.inbox_dir / "chain"
    folder.mkdir(parents=True)

    await becomes(daemon, LOW)
    (warning,) = await warnings(daemon)
    assert "Podman's images and containers has 9.0 GiB of 100.0 GiB free" in warning
    assert "11.0 GiB must be" in warning

    (folder / "scan.dcm").write_bytes(b"scan")

    async def parked() -> bool:
        found = await items(daemon)
        return bool(found) and found[0][0] == "PARKED" and found[0][1].startswith("disk: ")

    await eventually(parked, "the item is parked")
    status = await daemon.appliance.Status(appliance_pb2.StatusRequest())
    assert status.items_parked == 1
    refused = await daemon.upload(made.payload_id.value, ("y", b"2"))
    assert refused.header.code == -0x5204
    assert "9.0 GiB" in refused.header.messages[0]
    assert "free some space" in refused.header.messages[0]
    started = await daemon.start(made.job_id.value)
    assert started.header.code == 0

    async def reported() -> bool:
        reply = await daemon.appliance.Status(appliance_pb2.StatusRequest())
        return any(text.startswith("no job starts: disk: ") for text in reply.warnings)

    await eventually(reported, "there is a warning")
    assert (await daemon.status(made.job_id.value)).state == jobs_pb2.JOB_STATE_PENDING
    assert daemon.runner.started.count("one") <= 1
    read = await daemon.download(before.payload_id.value, "/operators/one/x")
    assert contents(read) == b"before", "reading continues"

    await becomes(daemon, ROOM)
    assert (await daemon.end(made.job_id.value)).status == jobs_pb2.JOB_STATUS_HEALTHY

    async def delivered() -> bool:
        return [state for state, _ in await items(daemon)] == ["DELIVERED"]

    await eventually(delivered, "it is delivered")
    another = await daemon.create(pipeline)
    assert (await daemon.upload(another.payload_id.value, ("x", b"1"))).header.code == 0


async def test_uploads_that_are_open_end_and_leave_nothing(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    low = asyncio.Event()

    async def upload() -> AsyncIterator[payloads_pb2.PayloadsUploadRequest]:
        for number in range(2):
            yield payloads_pb2.PayloadsUploadRequest(
                header=HEADER,
                payload_id=an_id(made.payload_id.value),
                details=payloads_pb2.PayloadFileDetails(name="x", size=3),
                data=b"%d\n" % number,
            )
            await low.wait()

    sending = asyncio.ensure_future(daemon.payloads.Upload(upload()))
    uploads = daemon.config.state_dir / "uploads"

    async def open_there() -> bool:
        return any(uploads.iterdir())

    await eventually(open_there, "the upload has begun")
    await becomes(daemon, LOW)
    low.set()
    assert (await sending).header.code == -0x5204
    assert list(uploads.iterdir()) == []


async def test_models_and_images_are_refused_as_well(daemon: Daemon) -> None:
    await becomes(daemon, LOW)

    async def model() -> AsyncIterator[models_pb2.ModelsUploadModelRequest]:
        yield models_pb2.ModelsUploadModelRequest(header=HEADER, data=b"x")

    async def image() -> AsyncIterator[appliance_pb2.LoadRequest]:
        yield appliance_pb2.LoadRequest(data=b"x")

    reply = await ModelsStub(daemon.channel).UploadModel(model())
    assert reply.header.code == -0x5204
    with pytest.raises(Exception, match="no upload is taken now") as refused:
        await daemon.images.Load(image())
    assert refused.value.code().name == "RESOURCE_EXHAUSTED"  # type: ignore[attr-defined]


@asynccontextmanager
async def running(daemon: Daemon, *priorities: int) -> AsyncIterator[list[str]]:
    """A running job of each of these priorities, started in this order."""
    daemon.runner.block("one")
    pipeline = await daemon.register(chain("one"))
    jobs = []
    for priority in priorities:
        made = await daemon.create(pipeline, priority=priority)
        await daemon.upload(made.payload_id.value, ("x", b"x" * 10_000))
        await daemon.start(made.job_id.value)
        jobs.append(made.job_id.value)

        async def runs(job: str = made.job_id.value) -> bool:
            return (await daemon.status(job)).state == jobs_pb2.JOB_STATE_RUNNING

        await eventually(runs, "the job runs")
    yield jobs
    daemon.runner.release("one")


async def stopped(daemon: Daemon, jobs: list[str]) -> list[str]:
    return [job for job in jobs if (await daemon.status(job)).state == jobs_pb2.JOB_STATE_STOPPED]


async def test_below_the_hard_limit_the_youngest_of_the_lowest_priority_is_evicted(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evictions, "_SETTLE", 3600.0)
    lower, normal = jobs_pb2.JOB_PRIORITY_LOWER, jobs_pb2.JOB_PRIORITY_NORMAL
    async with running(daemon, lower, lower, normal) as jobs:
        await becomes(daemon, OUT)
        end = await daemon.end(jobs[1])
        assert end.status == jobs_pb2.JOB_STATUS_EVICTED
        assert "the disk of Podman's images and containers has 512 MiB" in end.messages[0]
        assert end.messages[0].startswith("evicted: ")
        assert await stopped(daemon, jobs) == [jobs[1]], "one at a time"
        await becomes(daemon, ROOM)
        daemon.runner.release("one")
        for job in (jobs[0], jobs[2]):
            assert (await daemon.end(job)).status == jobs_pb2.JOB_STATUS_HEALTHY


async def test_the_next_is_evicted_only_where_that_was_not_enough(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evictions, "_SETTLE", 1.0)
    async with running(daemon, *[jobs_pb2.JOB_PRIORITY_NORMAL] * 3) as jobs:
        seen = []

        async def space() -> Space:
            """The end of two jobs makes room."""
            seen.append(tuple(await stopped(daemon, jobs)))
            return OUT if len(seen[-1]) < 2 else ROOM

        monkeypatch.setattr(daemon.runner, "image_space", space)
        for job in (jobs[2], jobs[1]):
            assert (await daemon.end(job)).status == jobs_pb2.JOB_STATUS_EVICTED
        await becomes(daemon, ROOM)
        assert list(dict.fromkeys(seen)) == [(), (jobs[2],), (jobs[1], jobs[2])]
        daemon.runner.release("one")
        assert (await daemon.end(jobs[0])).status == jobs_pb2.JOB_STATUS_HEALTHY


async def test_a_disk_that_is_low_at_the_start_blocks_from_the_first_moment(folder: Path) -> None:
    config = Config(state_dir=folder / "state", runtime_dir=folder / "run")
    inbox = config.inbox_dir / "chain"
    async with daemon_in(folder) as daemon:
        await daemon.register(chain("one"))
        pipeline = await daemon.register(chain("one"))
        made = await daemon.create(pipeline)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / "scan.dcm").write_bytes(b"scan")
    # So that the state's own disk is below the soft limit, whatever it has.
    async with daemon_in(folder, disk=DiskSettings(soft_percent=100, soft_mb=16 << 20)) as daemon:
        assert await warnings(daemon) != []
        await daemon.start(made.job_id.value)

        async def parked() -> bool:
            return [state for state, _ in await items(daemon)] == ["PARKED"]

        await eventually(parked, "the item is parked")
        assert inbox.joinpath("scan.dcm").exists()
        assert (await daemon.status(made.job_id.value)).state == jobs_pb2.JOB_STATE_PENDING
    async with daemon_in(folder) as daemon:
        assert (await daemon.end(made.job_id.value)).status == jobs_pb2.JOB_STATUS_HEALTHY

        async def delivered() -> bool:
            return [state for state, _ in await items(daemon)] == ["DELIVERED"]

        await eventually(delivered, "it is delivered")


async def test_what_an_evicted_job_leaves_gives_the_room_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = folder / "state" / "payloads"
    crowded = False

    async def state() -> tuple[int, int]:
        full = crowded and len(list(payloads.iterdir())) > 1
        return (OUT if full else ROOM).free, ROOM.total

    monkeypatch.setattr(claraedge.daemon.disks, "measured", lambda _: state)
    monkeypatch.setattr(evictions, "_SETTLE", 3600.0)  # so: by this one alone
    normal = jobs_pb2.JOB_PRIORITY_NORMAL
    async with (
        daemon_in(folder, disk=DiskSettings()) as daemon,
        running(daemon, normal, normal) as jobs,
    ):
        crowded = True
        assert (await daemon.end(jobs[1])).status == jobs_pb2.JOB_STATUS_EVICTED

        async def over() -> bool:
            return await warnings(daemon) == []

        await eventually(over, "the warning is over")
        assert len(list(payloads.iterdir())) == 1
        daemon.runner.release("one")
        assert (await daemon.end(jobs[0])).status == jobs_pb2.JOB_STATUS_HEALTHY


async def test_a_payload_that_is_being_downloaded_stays_on_a_low_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowded = False

    async def state() -> tuple[int, int]:
        return (LOW if crowded else ROOM).free, ROOM.total

    monkeypatch.setattr(claraedge.daemon.disks, "measured", lambda _: state)
    keep = RetentionSettings(undelivered_hours=0)
    async with daemon_in(folder, disk=DiskSettings(), retention=keep) as daemon:
        pipeline = await daemon.register(chain("one"))
        read, other = [await daemon.run(pipeline, x=b"x" * 3_000_000) for _ in range(2)]
        call = daemon.payloads.Download(
            payloads_pb2.PayloadsDownloadRequest(
                header=HEADER, payload_id=read.payload_id, name="operators/one/x"
            )
        )
        replies = aiter(call)
        first = await anext(replies)
        crowded = True

        async def gone() -> bool:
            return not (folder / "state" / "payloads" / other.payload_id.value).exists()

        await eventually(gone, "the payload is gone")
        rest = [message async for message in replies]
        assert len(contents([first, *rest])) == 3_000_000
        again = await daemon.download(read.payload_id.value, "input/x")
        assert len(contents(again)) == 3_000_000, "its other files are there as well"
        reply = await daemon.download(other.payload_id.value, "input/x")
        assert reply[0].header.code == -0x3001
