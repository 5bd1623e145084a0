"""Chunks of a stream are written in large pieces, in their order, and none stays in memory."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from claraedge.blocking import in_thread
from claraedge.fs import files
from claraedge.memory import Budget
from claraedge.payloads import chunks
from claraedge.payloads.chunks import ChunkWriter
from tests.rig.waiting import eventually

KIB = 1024
DEADLINE = 20.0


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[ChunkWriter]:
    made = ChunkWriter(tmp_path)
    yield made
    await made.stop()
    made.close()


async def finish(writer: ChunkWriter, folder: Path) -> None:
    for number, data in (await writer.rest()).items():
        files.append(folder / str(number), data)


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def opened(path: Path) -> bool:
    return any(link.resolve() == path for link in Path("/proc/self/fd").iterdir())


async def test_many_chunks_are_few_writes_to_a_file_that_is_opened_once(
    writer: ChunkWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    open_to_append, write_chunks = files.open_to_append, files.write_chunks

    def noting_open(path: Path) -> int:
        calls.append("open")
        return open_to_append(path)

    def noting_write(descriptor: int, data: Iterable[bytes | bytearray]) -> None:
        calls.append("write")
        write_chunks(descriptor, data)

    monkeypatch.setattr(chunks, "_PAUSE", DEADLINE)
    monkeypatch.setattr(files, "open_to_append", noting_open)
    monkeypatch.setattr(files, "write_chunks", noting_write)
    for _ in range(160):
        await writer.write(0, b"x" * (64 * KIB))
    await finish(writer, tmp_path)
    assert (tmp_path / "0").stat().st_size == 10 * KIB * KIB
    assert calls == ["open", *["write"] * 10]


async def test_the_next_piece_is_collected_while_one_is_written(
    writer: ChunkWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, write_chunks = threading.Event(), files.write_chunks

    def slow(descriptor: int, data: Iterable[bytes | bytearray]) -> None:
        assert gate.wait(DEADLINE)
        write_chunks(descriptor, data)

    monkeypatch.setattr(files, "write_chunks", slow)
    path = tmp_path / "0"
    async with asyncio.timeout(DEADLINE):
        await writer.write(0, b"1" * KIB * KIB)
        await writer.write(0, b"2" * (KIB * KIB - 1))
    third = asyncio.create_task(writer.write(0, b"3"))  # completes the second piece
    await asyncio.sleep(0)
    assert not third.done()
    gate.set()
    await third
    await finish(writer, tmp_path)
    assert path.read_bytes() == b"1" * KIB * KIB + b"2" * (KIB * KIB - 1) + b"3"


async def test_a_stream_that_pauses_keeps_no_memory_no_thread_and_no_open_file(
    writer: ChunkWriter, tmp_path: Path
) -> None:
    path = tmp_path / "0"
    budget = Budget()

    def idle() -> bool:
        return writer._writing is not None and writer._writing.done()

    with budget.share():
        for size in (100 * KIB, KIB * KIB, KIB * KIB + 10):
            await writer.write(0, b"x" * size)
            await eventually(lambda: budget.used == 0, "what came is written")
            await eventually(lambda: not opened(path), "the file is closed")
        await eventually(idle, "no thread works")
        await writer.write(0, b"little")
        assert budget.used == len(b"little")
    await finish(writer, tmp_path)
    assert path.stat().st_size == 2 * KIB * KIB + 100 * KIB + 16


async def test_chunks_of_any_sizes_and_files_keep_their_order(
    writer: ChunkWriter, tmp_path: Path
) -> None:
    expected: dict[str, bytearray] = {}
    for number in range(3000):
        file, size = number * number % 7, (1, 0, 40 * KIB, 700)[number % 4]
        data = bytes([number % 251]) * size
        await writer.write(file, data)
        expected.setdefault(str(file), bytearray()).extend(data)
    await finish(writer, tmp_path)
    found = stored(tmp_path)
    assert found == expected
    assert sum(opened(tmp_path / name) for name in found) <= 1


async def test_many_tiny_files_are_written_on_the_way(writer: ChunkWriter, tmp_path: Path) -> None:
    for number in range(5000):
        await writer.write(number, b"x")
    assert len(writer._piece.files) < 1000
    await finish(writer, tmp_path)
    assert len(stored(tmp_path)) == 5000


async def test_a_failed_write_is_raised_at_the_next_one(
    writer: ChunkWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int, __: Iterable[bytes | bytearray]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_chunks", full)
    await writer.write(0, b"x" * KIB * KIB)
    with pytest.raises(OSError, match="No space left"):
        await writer.write(0, b"x" * KIB * KIB)
    with pytest.raises(OSError, match="No space left"):
        await finish(writer, tmp_path)


async def test_a_write_that_fails_in_a_pause_is_raised_later(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path / "missing")
    budget = Budget()
    with budget.share():
        await writer.write(0, b"x" * 100 * KIB)
        await eventually(lambda: budget.used == 0, "the write has ended")
        await writer.write(0, b"x")  # small: it is only collected
    with pytest.raises(FileNotFoundError):
        await writer.rest()
    await writer.stop()


@pytest.mark.parametrize(("of_calls", "of_streams"), [(0, 1 << 20), (1 << 20, 0)])
async def test_a_stream_without_room_waits_until_its_chunk_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_calls: int, of_streams: int
) -> None:
    monkeypatch.setattr(chunks, "_PAUSE", DEADLINE)
    room = Budget(of_streams)
    monkeypatch.setattr(chunks, "_ROOM", room)
    budget = Budget(of_calls)
    writer = ChunkWriter(tmp_path)
    with budget.share():
        await writer.write(0, b"one more")
        assert (tmp_path / "0").stat().st_size == 8
        assert (budget.used, room.used) == (0, 0)
        await writer.stop()
    writer.close()


async def test_what_is_collected_counts_until_it_is_written_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_PAUSE", DEADLINE)
    room = Budget(2 << 20)
    monkeypatch.setattr(chunks, "_ROOM", room)
    writer = ChunkWriter(tmp_path)
    await writer.write(0, b"x" * KIB * KIB)
    assert room.used == KIB * KIB
    await writer.written()
    assert room.used == 0
    await writer.write(0, b"x" * 1000)
    assert room.used == 1000
    await writer.stop()
    writer.close()
    assert room.used == 0
    assert (tmp_path / "0").stat().st_size == KIB * KIB


async def test_the_end_waits_for_a_thread_and_drops_the_rest(
    writer: ChunkWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, gate, write_chunks = threading.Event(), threading.Event(), files.write_chunks

    def slow(descriptor: int, data: Iterable[bytes | bytearray]) -> None:
        entered.set()
        assert gate.wait(DEADLINE)
        write_chunks(descriptor, data)

    monkeypatch.setattr(files, "write_chunks", slow)
    await writer.write(0, b"x" * KIB * KIB)
    await writer.write(0, b"y")
    assert await in_thread(entered.wait, DEADLINE)
    stopping = asyncio.create_task(writer.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    gate.set()
    await stopping
    assert (tmp_path / "0").stat().st_size == KIB * KIB
    writer.close()
    assert not opened(tmp_path / "0")


def slowly(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Makes each write wait for the event that is returned."""
    gate, write_chunks = threading.Event(), files.write_chunks

    def slow(descriptor: int, data: Iterable[bytes | bytearray]) -> None:
        assert gate.wait(DEADLINE)
        write_chunks(descriptor, data)

    monkeypatch.setattr(files, "write_chunks", slow)
    return gate


async def test_a_pause_at_the_end_of_a_write_hides_no_chunk_from_who_waits_for_it(
    writer: ChunkWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, write_piece = slowly(monkeypatch), writer._write_piece

    async def piece(*arguments: Any) -> None:
        await write_piece(*arguments)
        asyncio.get_running_loop().call_soon(writer._pause)  # before who waits continues

    monkeypatch.setattr(writer, "_write_piece", piece)
    await writer.write(0, b"1" * KIB * KIB)
    await writer.write(0, b"2" * 900 * KIB)
    resting = asyncio.create_task(writer.rest())
    await asyncio.sleep(0)
    gate.set()
    for number, data in (await resting).items():
        files.append(tmp_path / str(number), data)
    assert stored(tmp_path) == {"0": b"1" * KIB * KIB + b"2" * 900 * KIB}


async def test_a_stream_that_is_cancelled_while_it_stops_keeps_nothing_of_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, room = slowly(monkeypatch), Budget()
    monkeypatch.setattr(chunks, "_ROOM", room)
    writer = ChunkWriter(tmp_path)
    await writer.write(0, b"1" * KIB * KIB)
    await writer.write(0, b"2" * 900 * KIB)
    assert room.used > 0
    stopping = asyncio.create_task(writer.stop())
    await asyncio.sleep(0)
    stopping.cancel()  # the client disconnects
    gate.set()
    await asyncio.wait([stopping])
    writer.close()
    await eventually(lambda: room.used == 0, "the room is free")
