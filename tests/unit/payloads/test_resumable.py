"""Uploads that are continued: their end by age, and full disks."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from claraedge.errors import UploadNotFoundError
from claraedge.fs import files
from claraedge.ids import new_id
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
    _, path = await payloads.find(state.payload, "a")
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
