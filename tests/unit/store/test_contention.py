"""A lock of another process costs nothing but time, and is named; at the start, too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claraedge.errors import UnavailableError
from claraedge.store import contention
from claraedge.store.database import Database, Transaction
from tests.rig.waiting import eventually

LOCKS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
if sys.argv[2] == "exclusive":
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
if sys.argv[2] == "reads":
    connection.execute("BEGIN")
    connection.execute("SELECT * FROM facts").fetchall()
else:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE IF NOT EXISTS others (x)")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""
KINDS = ["immediate", "exclusive"]


@contextmanager
def locked(path: Path, kind: str = "immediate") -> Iterator[int]:
    """Another process has the lock; it ends with the block."""
    child = subprocess.Popen(
        [sys.executable, "-c", LOCKS, path, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"locked\n"
        yield child.pid
    finally:
        child.stdin.close()
        child.wait(20)
        child.stdout.close()


def put(key: str) -> Any:
    return lambda tx: tx.run("put_fact", key=key, value="v")


def known(tx: Transaction) -> bool:
    return tx.row("fact", key="k") is not None


async def first_warning(database: Database) -> str:
    return (await eventually(database.warnings, "there is a warning"))[0]


async def test_a_write_waits_for_the_lock_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path) as database:
        with locked(path) as pid:
            writing = asyncio.create_task(database.write(put("k")))
            warning = await first_warning(database)
            assert f"the process {pid} (python" in warning
            assert str(path) in warning
            assert await database.read(known) is False  # readers continue
            await database.answers(lambda _: None)  # so the watchdog is content
            assert not writing.done()
        await asyncio.wait_for(writing, 20)
        assert await database.read(known) is True
        assert database.warnings() == []


async def test_a_reader_that_lets_the_log_grow_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contention, "_WAL_IS_LONG", 1 << 20)
    async with Database(tmp_path / "claraedge.db") as database:
        await database.write(put("k"))
        with locked(database.path, "reads") as pid:
            for number in range(4):
                text = "x" * 500_000
                await database.write(
                    lambda tx, n=number, text=text: tx.run("put_fact", key=f"k{n}", value=text)  # type: ignore[misc]
                )
            (warning,) = database.warnings()
            assert f"claraedge.db-wal has 1 MiB: the process {pid} (python" in warning


@pytest.mark.parametrize("kind", KINDS)
async def test_a_start_waits_for_the_lock_of_another_process(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path) as database:
        await database.write(put("k"))
    with locked(path, kind):
        database = Database(path)
        starting = asyncio.create_task(database.__aenter__())
        if kind == "exclusive":
            await first_warning(database)
            assert not starting.done()
    await asyncio.wait_for(starting, 20)
    try:
        assert await database.read(known) is True
    finally:
        await database.__aexit__(None, None, None)


async def test_a_daemon_that_waits_for_a_lock_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path) as database:
        await database.write(put("k"))
    with locked(path):
        async with asyncio.timeout(20), Database(path) as database:
            writing = asyncio.create_task(database.write(put("l")))
            await first_warning(database)
        with pytest.raises(UnavailableError):
            await writing
    with locked(path, "exclusive"):
        starting = asyncio.create_task(Database(path).__aenter__())
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(starting, 20)
