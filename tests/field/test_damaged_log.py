"""The write-ahead log of the database after a power cut, and after worse."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from claraedge.errors import DamagedStateError
from claraedge.store.database import Database, Transaction
from claraedge.store.salvage import salvage
from tests.field.case import case

WRITES = 30
FRAME, HEADER = 4096 + 24, 32


def put(number: int) -> object:
    def work(tx: Transaction) -> None:
        tx.run("put_fact", key=f"key {number}", value="x" * 500)

    return work


def keys(tx: Transaction) -> int:
    query = "SELECT count(*) FROM facts WHERE key LIKE 'key %'"
    return int(tx._connection.execute(query).fetchone()[0])


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A database as a power cut leaves it: all changes are in the log."""
    path, copy = tmp_path / "there" / "claraedge.db", tmp_path / "here" / "claraedge.db"
    path.parent.mkdir()
    copy.parent.mkdir()

    async def fill() -> None:
        async with Database(path):
            pass
        async with Database(path) as database:
            for number in range(WRITES):
                await database.write(put(number))  # type: ignore[arg-type]
            for name in ("claraedge.db", "claraedge.db-wal"):
                shutil.copy(path.with_name(name), copy.with_name(name))

    asyncio.run(fill())
    assert copy.with_name("claraedge.db-wal").stat().st_size >= WRITES * FRAME
    return copy


async def kept(path: Path) -> int:
    async with Database(path) as database:
        return await database.read(keys)


@case(
    5,
    "a power cut in the middle of a write to the database's log",
    source="sqlite.org/wal.html",
    outcome="The start continues with all that was recorded before; it is no damage.",
)
def test_a_log_that_ends_anywhere_is_no_damage(cut: Path) -> None:
    log, original = cut.with_name("claraedge.db-wal"), cut.read_bytes()
    content = log.read_bytes()
    ends = random.Random(1)
    last = WRITES + 1
    for end in sorted((ends.randrange(len(content)) for _ in range(12)), reverse=True):
        cut.write_bytes(original)
        log.write_bytes(content[:end])
        found = asyncio.run(kept(cut))
        assert found <= last
        last = found
    cut.write_bytes(original)
    torn = bytearray(content)
    torn[-FRAME + 100 : -FRAME + 600] = b"\xff" * 500  # the last change, in part
    log.write_bytes(torn)
    assert asyncio.run(kept(cut)) == WRITES - 1


@pytest.mark.parametrize("place", ["its header", "its first change", "its middle"])
@case(
    5,
    "the database's log is damaged before its end",
    source="sqlite.org/wal.html",
    outcome="The start ends with 73 and says how many recorded changes cannot be read, where SQLite"
    " alone would leave them out without a word.",
)
def test_a_log_with_changes_behind_the_damage_is_reported(cut: Path, place: str) -> None:
    log = cut.with_name("claraedge.db-wal")
    content = bytearray(log.read_bytes())
    frames = (len(content) - HEADER) // FRAME
    at = {"its header": 0, "its first change": HEADER, "its middle": HEADER + frames // 2 * FRAME}
    content[at[place] : at[place] + 32] = bytes(32)
    log.write_bytes(content)
    with pytest.raises(DamagedStateError, match=r"db-wal is damaged: .* changes cannot be read"):
        asyncio.run(kept(cut))
    assert log.read_bytes() == content, "what is left of it was removed"
    with pytest.raises(DamagedStateError, match="changes cannot be read"):
        asyncio.run(kept(cut))
    tables = {t.name: t.rows for t in salvage(cut, cut.with_name("new.db"))}
    assert tables["facts"] >= (WRITES // 2 - 2 if place == "its middle" else 0)
