"""Uploads that are continued: their end by age, and full disks."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from claraedge.blocking import in_thread
from claraedge.errors import UploadNotFoundError, UploadOffsetError
from claraedge.fs import files
from claraedge.ids import new_id
from claraedge.payloads import payloads as payloads_module
from claraedge.payloads import resuming
from claraedge.payloads.checksums import Checksum
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.resumable import LIFE
from claraedge.payloads.resuming import continued
from claraedge.payloads.tree import PayloadTree
from claraedge.store import disposable
from claraedge.store.database import Database


class Clock:
    """Two clocks, as a test sets them."""

    def __init__(self) -> None:
        self.wall, self.boot = 1e9, 0.0

    def now(self) -> float:
        return self.wall

    def elapsed(self) -> float:
        return self.boot


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def payloads(tmp_path: Path, database: Database, clock: Clock) -> Payloads:
    payloads = Payloads(database, PayloadTree(tmp_path), clock, new_id)
    await payloads.prepare()
    return payloads


async def begun(payloads: Payloads, **more: Any) -> str:
    payload = await payloads.create({})
    state = await payloads.resumable.start(
        payload.id, "a", **{"mode": 0, "size": None, "note": "", **more}
    )
    return state.id


async def test_only_a_clock_that_is_right_ends_uploads_by_the_time_of_day(
    payloads: Payloads, clock: Clock
) -> None:
    upload = await begun(payloads)
    clock.wall += 10 * LIFE  # as where the time comes from the network late
    await payloads.resumable.expire(None)
    assert payloads.resumable.get(upload).offset == 0
    clock.boot = LIFE - 1
    await payloads.resumable.expire(None)
    assert payloads.resumable.get(upload).offset == 0
    await payloads.resumable.expire(clock.wall)
    with pytest.raises(UploadNotFoundError):
        payloads.resumable.get(upload)
    assert list(payloads.tree.resumable.iterdir()) == []


async def test_an_upload_that_is_being_continued_does_not_end_by_its_age(
    payloads: Payloads, clock: Clock
) -> None:
    upload = await begun(payloads)
    async with continued(payloads.resumable, upload, 0) as continuation:
        await continuation.write(b"1")
        clock.boot = 2 * LIFE
        await payloads.resumable.expire(None)
        await continuation.write(b"2")
    await payloads.resumable.expire(None)
    assert payloads.resumable.get(upload).offset == 2


@pytest.mark.parametrize("step", ["sync_file", "link_or_copy"])
async def test_a_full_disk_at_the_end_keeps_the_upload(
    payloads: Payloads, database: Database, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    upload = await begun(payloads)

    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, step, full)

    async def send() -> None:
        async with continued(payloads.resumable, upload, 0) as continuation:
            await continuation.write(b"12")
            await continuation.finish()

    with pytest.raises(OSError, match="No space"):
        await send()
    monkeypatch.undo()
    assert await database.read(lambda tx: disposable.of(tx, "payloads")) == frozenset()
    state = payloads.resumable.get(upload)
    assert state.offset == 2
    async with continued(payloads.resumable, upload, 2) as continuation:
        await continuation.write(b"3")
        await continuation.finish()
    _, path = await payloads.find(state.place, "a")
    assert path.read_bytes() == b"123"
    assert await database.read(lambda tx: disposable.of(tx, "payloads")) == frozenset()


async def test_a_full_disk_on_the_way_leaves_the_offset_of_what_is_there(
    payloads: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begun(payloads)
    append = files.append

    def half(path: Path, chunks: Any) -> None:
        append(path, [b"".join(chunks)[:1000]])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "append", half)

    async def send() -> None:
        async with continued(payloads.resumable, upload, 0) as continuation:
            await continuation.write(b"x" * 1500)
            await continuation.end()

    with pytest.raises(OSError, match="No space"):
        await send()
    monkeypatch.undo()
    assert payloads.resumable.get(upload).offset == 1000
    async with continued(payloads.resumable, upload, 1000) as continuation:
        await continuation.write(b"y")
        assert await continuation.end() == 1001


KIB = 1024
WHOLE = b"".join(bytes([65 + n]) * 256 * KIB for n in range(16))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def slowed(monkeypatch: pytest.MonkeyPatch, name: str) -> threading.Event:
    """Makes each write of a file last half a second; the event says that one has begun."""
    begun, real = threading.Event(), getattr(files, name)
    free = threading.Event()

    def slow(*arguments: Any) -> None:
        begun.set()
        free.wait(0.5)
        real(*arguments)

    monkeypatch.setattr(files, name, slow)
    return begun


async def stored(payloads: Payloads, upload: str, payload: str, offset: int) -> bytes:
    """Sends the rest of an upload from an offset; returns what its file has then."""
    async with continued(payloads.resumable, upload, offset) as call:
        for at in range(offset, len(WHOLE), 256 * KIB):
            await call.write(WHOLE[at : at + 256 * KIB])
        file, _ = await call.finish()
    return payloads.tree.path(payload, file).read_bytes()


@pytest.mark.parametrize("slow", ["write_chunks", "append"])
async def test_a_call_that_ends_during_a_slow_write_leaves_the_right_offset(
    payloads: Payloads, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    payload = await payloads.create({})
    started = await payloads.resumable.start(payload.id, "a", mode=0, size=len(WHOLE), note="")
    begun = slowed(monkeypatch, slow)
    before = descriptors()

    async def first() -> None:
        async with continued(payloads.resumable, started.id, 0) as call:
            for at in range(0, len(WHOLE) // 2, 256 * KIB):
                await call.write(WHOLE[at : at + 256 * KIB])
            await call.end()

    sending = asyncio.create_task(first())
    assert await in_thread(begun.wait, 30)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    monkeypatch.undo()
    assert descriptors() == before
    offset = payloads.resumable.get(started.id).offset
    assert await stored(payloads, started.id, payload.id, offset) == WHOLE


async def test_a_later_call_during_a_slow_write_doubles_and_loses_nothing(
    payloads: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = await payloads.create({})
    started = await payloads.resumable.start(payload.id, "a", mode=0, size=len(WHOLE), note="")
    begun = slowed(monkeypatch, "write_chunks")

    async def first() -> None:
        async with continued(payloads.resumable, started.id, 0) as call:
            for at in range(0, len(WHOLE), 256 * KIB):
                await call.write(WHOLE[at : at + 256 * KIB])

    sending = asyncio.create_task(first())
    assert await in_thread(begun.wait, 30)
    for _ in range(10):
        offset = payloads.resumable.get(started.id).offset
        try:
            found = await stored(payloads, started.id, payload.id, offset)
            break
        except UploadOffsetError:
            continue
    assert found == WHOLE
    (ended,) = await asyncio.gather(sending, return_exceptions=True)
    assert isinstance(ended, UploadOffsetError)


@pytest.mark.parametrize("boot", ["same", "other"])
async def test_a_read_only_file_that_was_killed_at_its_end_is_continued(
    payloads: Payloads, database: Database, clock: Clock, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, boot: str,
) -> None:  # fmt: skip
    payload = await payloads.create({})
    started = await payloads.resumable.start(payload.id, "a", mode=0o444, size=None, note="")
    async with continued(payloads.resumable, started.id, 0) as call:
        await call.write(b"0123")
    (data,) = (tmp_path / "resumable").glob("*/0")
    data.chmod(0o444)  # killed between this and the commit
    if boot == "other":
        monkeypatch.setattr(payloads_module, "boot_id", lambda: "other")
    again = Payloads(database, PayloadTree(tmp_path), clock, new_id)
    await again.prepare()
    offset = again.resumable.get(started.id).offset
    async with continued(again.resumable, started.id, offset) as call:
        await call.write(b"0123"[offset:])
        file, _ = await call.finish()
    assert again.tree.path(payload.id, file).read_bytes() == b"0123"


async def test_a_payload_that_is_deleted_during_a_call_keeps_no_upload(
    payloads: Payloads, tmp_path: Path
) -> None:
    payload = await payloads.create({})
    started = await payloads.resumable.start(payload.id, "a", mode=0, size=None, note="")
    async with continued(payloads.resumable, started.id, 0) as call:
        await call.write(b"0123")
        await payloads.delete(payload.id)
    assert await payloads.resumable.all() == []
    assert list((tmp_path / "resumable").iterdir()) == []


async def test_uploads_with_checksums_are_synced_as_others_are(
    payloads: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "_SYNCED", 4)
    payload = await payloads.create({})
    started = await payloads.resumable.start(payload.id, "a", mode=0, size=None, note="")
    checksum = Checksum(algorithm="sha1", digest=hashlib.sha1(b"0123456789").digest())
    async with continued(payloads.resumable, started.id, 0, checksum) as call:
        await call.write(b"0123456789")
        await call.end()
    assert payloads.resumable._open[started.id].record.synced == 10
