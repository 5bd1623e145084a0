"""What a caller of the database may rely on: durable before the answer, alone in its failure."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claraedge.errors import (
    AlreadyRunningError,
    ClaraedgeError,
    DamagedStateError,
    StateFolderError,
    StorageFullError,
    UnavailableError,
)
from claraedge.store.database import Database, Transaction
from tests.rig.waiting import eventually

OPENS = """
import asyncio, sys
from pathlib import Path
from claraedge.errors import ClaraedgeError
from claraedge.store.database import Database

async def main():
    async with Database(Path(sys.argv[1])) as database:
        await database.write(lambda tx: tx.run("put_fact", key="k", value="from the child"))
        print("answered", flush=True)
        await asyncio.sleep(3600)

try:
    asyncio.run(main())
except ClaraedgeError as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(3)
"""


def put(key: str, value: str = "v") -> Any:
    return lambda tx: tx.run("put_fact", key=key, value=value)


def get(key: str) -> Any:
    def work(tx: Transaction) -> str | None:
        row = tx.row("fact", key=key)
        return None if row is None else str(row["value"])

    return work


def writer_of(database: Database) -> sqlite3.Connection:
    """Returns the connection of all changes; call it while the database is open."""
    writer = database._writer
    assert writer is not None
    return writer


@contextmanager
def statements(database: Database) -> Any:
    """What the writer's connection runs."""
    writer = writer_of(database)
    seen: list[str] = []
    writer.set_trace_callback(seen.append)
    try:
        yield seen
    finally:
        writer.set_trace_callback(None)


@contextmanager
def writer_blocked(database: Database) -> Any:
    """Keeps the writer at work while the body queues more; releases it at the end."""
    entered, gate = threading.Event(), threading.Event()

    def work(_: Transaction) -> None:
        entered.set()
        assert gate.wait(20)

    writing = asyncio.ensure_future(database.write(work))

    try:
        yield eventually(entered.is_set, "the writer is at work")
    finally:
        gate.set()
        writing.add_done_callback(lambda task: task.exception())


async def child(path: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OPENS,
        str(path),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )


async def test_an_answered_write_is_visible_to_another_connection(database: Database) -> None:
    await database.write(put("k", "1"))
    with sqlite3.connect(f"file:{database.path}?mode=ro", uri=True) as other:
        assert other.execute("SELECT value FROM facts WHERE key = 'k'").fetchall() == [("1",)]


async def test_the_file_and_its_folder_are_for_this_user_alone(database: Database) -> None:
    assert database.path.stat().st_mode & 0o777 == 0o600


async def test_commits_are_synced_in_full_and_kept_in_a_log(database: Database) -> None:
    def pragmas(tx: Transaction) -> tuple[object, ...]:
        connection = tx._connection
        return tuple(
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "journal_mode", "foreign_keys")
        )

    assert await database.write(pragmas) == (2, "wal", 1)


async def test_writes_that_come_together_share_one_commit(database: Database) -> None:
    with statements(database) as seen:
        with writer_blocked(database) as blocked:
            await blocked
            many = [asyncio.ensure_future(database.write(put(f"k{i}"))) for i in range(64)]
            await asyncio.sleep(0)  # each has queued its work, none is answered
            assert not any(task.done() for task in many)
        await asyncio.gather(*many)
    assert seen.count("COMMIT") == 2  # that of the first, and one for all others
    assert seen.count("BEGIN IMMEDIATE") == 2
    assert "BEGIN" not in seen


async def test_no_caller_is_answered_before_the_commit(database: Database) -> None:
    order: list[str] = []
    writer = writer_of(database)
    loop = asyncio.get_running_loop()

    class Noting(asyncio.Future[Any]):
        def set_result(self, result: Any) -> None:
            order.append("answer")
            super().set_result(result)

    loop.create_future = Noting  # type: ignore[method-assign, assignment]
    writer.set_trace_callback(lambda text: order.append(text) if text == "COMMIT" else None)
    try:
        await database.write(put("k"))
    finally:
        del loop.create_future
        writer.set_trace_callback(None)
    assert order == ["COMMIT", "answer"]


async def test_a_failing_task_undoes_its_own_changes_only(database: Database) -> None:
    def breaks(tx: Transaction) -> None:
        tx.run("put_fact", key="bad", value="half done")
        raise LookupError("no such slice")

    with statements(database) as seen:
        with writer_blocked(database) as blocked:
            await blocked
            good = [asyncio.ensure_future(database.write(put(f"good{i}"))) for i in range(2)]
            bad = asyncio.ensure_future(database.write(breaks))
            last = asyncio.ensure_future(database.write(put("last")))
            await asyncio.sleep(0)
        results = await asyncio.gather(*good, bad, last, return_exceptions=True)
    assert [type(r) for r in results] == [int, int, LookupError, int]
    assert seen.count("COMMIT") == 2
    facts = [await database.read(get(key)) for key in ("good0", "good1", "bad", "last")]
    assert facts == ["v", "v", None, "v"]


async def test_a_statement_that_sqlite_refuses_reaches_its_caller_alone(database: Database) -> None:
    job = {"job": "nobody", "time": 0.0, "text": "?"}
    with writer_blocked(database) as blocked:
        await blocked
        bad = asyncio.ensure_future(database.write(lambda tx: tx.run("add_job_message", **job)))
        good = asyncio.ensure_future(database.write(put("k")))
        await asyncio.sleep(0)
    outcome = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(outcome[0], sqlite3.IntegrityError)
    assert outcome[1] == 1


async def test_a_cancelled_caller_does_not_undo_its_change_or_stop_the_writer(
    database: Database,
) -> None:
    with writer_blocked(database) as blocked:
        await blocked
        gone = asyncio.ensure_future(database.write(put("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    await database.write(put("next"))
    assert await database.read(get("gone")) == "v"


async def test_a_full_disk_is_reported_as_such_and_the_next_write_works(database: Database) -> None:
    def limit(tx: Transaction, pages: int) -> int:
        return int(tx._connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0])

    await database.write(lambda tx: limit(tx, 1))  # no less than the file has now
    with writer_blocked(database) as blocked:
        await blocked
        big = asyncio.ensure_future(database.write(put("big", "x" * 1_000_000)))
        await asyncio.sleep(0)
    with pytest.raises(StorageFullError, match="free some space"):
        await big
    assert await database.read(get("big")) is None
    await database.write(put("small"))
    await database.write(lambda tx: limit(tx, 1_000_000))
    await database.write(put("big", "x" * 1_000_000))
    assert len(await database.read(get("big"))) == 1_000_000


async def test_readers_see_one_snapshot_while_the_writer_continues(database: Database) -> None:
    await database.write(put("k", "old"))
    loop = asyncio.get_running_loop()
    seen: list[str | None] = []

    def reads(tx: Transaction) -> None:
        seen.append(get("k")(tx))
        asyncio.run_coroutine_threadsafe(database.write(put("k", "new")), loop).result(20)
        seen.append(get("k")(tx))

    await database.read(reads)
    assert seen == ["old", "old"]
    assert await database.read(get("k")) == "new"


async def test_the_log_becomes_small_again_after_a_long_read(database: Database) -> None:
    log = database.path.with_name(f"{database.path.name}-wal")
    reading, proceed = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def read(tx: Transaction) -> None:
        get("k")(tx)  # from here on it sees this snapshot, which no checkpoint passes
        loop.call_soon_threadsafe(reading.set)
        proceed.wait(60)

    long = asyncio.ensure_future(database.read(read))
    await reading.wait()
    try:
        for n in range(32):
            await database.write(put(f"k{n}", "x" * 500_000))
        assert log.stat().st_size > 16_000_000
    finally:
        proceed.set()
    await long
    for n in range(3):  # the first copies the log to the database, the next begins it again
        await database.write(put(f"after{n}"))
    assert log.stat().st_size <= 8 << 20


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(put("k"))
    assert await database.write(put("k")) == 1


async def test_a_reader_that_fails_leaves_its_connection_usable(database: Database) -> None:
    def breaks(tx: Transaction) -> None:
        get("k")(tx)
        raise LookupError

    for _ in range(10):
        with pytest.raises(LookupError):
            await database.read(breaks)
    await database.write(put("k", "seen"))
    assert await database.read(get("k")) == "seen"


async def test_a_read_whose_transaction_sqlite_ended_says_what_it_met(database: Database) -> None:
    def meets_a_failing_disk(tx: Transaction) -> None:
        tx._connection.execute("ROLLBACK")
        raise LookupError

    with pytest.raises(LookupError):
        await database.read(meets_a_failing_disk)
    assert await database.read(get("k")) is None


async def test_what_is_queued_when_it_closes_is_committed_and_what_comes_later_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path) as database:
        with writer_blocked(database) as blocked:
            await blocked
            queued = asyncio.ensure_future(database.write(put("queued")))
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(database.__aexit__(None, None, None))
            await asyncio.sleep(0)
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(database.write(put("late")), 5)
        await asyncio.gather(queued, closing)
        with pytest.raises(UnavailableError):
            await database.read(get("queued"))
    async with Database(path) as again:
        assert await again.read(get("queued")) == "v"
        assert await again.read(get("late")) is None


async def test_opened_twice_in_one_process_is_refused(database: Database) -> None:
    with pytest.raises(AlreadyRunningError, match="CLARAEDGE_STATE_DIR"):
        async with Database(database.path):
            pass
    await database.write(put("still works"))


async def test_opened_by_a_second_process_is_refused_with_the_holder(database: Database) -> None:
    import os

    other = await child(database.path)
    output, _ = await asyncio.wait_for(other.communicate(), 30)
    assert other.returncode == 3
    assert output.decode().startswith("AlreadyRunningError")
    assert f"process {os.getpid()}" in output.decode()
    assert await database.read(get("k")) is None


async def test_a_killed_process_keeps_what_it_answered_and_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "claraedge.db"
    process = await child(path)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"answered\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with Database(path) as database:
        assert await database.read(get("k")) == "from the child"


@pytest.mark.parametrize("content", [b"not a database, a letter" * 10, b"short"])
async def test_a_file_that_is_no_database_is_refused_and_kept(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "claraedge.db"
    path.write_bytes(content)
    with pytest.raises(DamagedStateError, match="does not begin as a database does"):
        async with Database(path):
            pass
    assert path.read_bytes() == content
    path.unlink()
    async with Database(path) as database:  # the lock was given back
        await database.write(put("k"))


async def test_a_damaged_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path) as database:
        await database.write(put("k"))
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    with pytest.raises(DamagedStateError, match="claraedge repair state"):
        async with Database(path):
            pass


async def test_a_lock_that_cannot_be_opened_is_an_error_of_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "claraedge.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateFolderError, match=r"claraedge\.lock cannot be opened"):
        async with Database(tmp_path / "claraedge.db"):
            pass
    assert not (tmp_path / "elsewhere").exists()


def test_every_error_of_the_store_says_what_to_do() -> None:
    for kind in (StateFolderError, StorageFullError, AlreadyRunningError):
        assert issubclass(kind, ClaraedgeError)


async def test_room_that_is_made_on_a_full_disk_lets_the_state_be_recorded(tmp_path: Path) -> None:
    made: list[str] = []

    def on_full() -> bool:
        if not room:
            return False
        made.append(room.pop())
        writer_of(database).execute("PRAGMA max_page_count = 1000000")
        return True

    room = ["ballast"]
    async with Database(tmp_path / "claraedge.db", on_full=on_full) as database:
        writer = writer_of(database)

        def fill() -> None:
            (pages,) = writer.execute("PRAGMA page_count").fetchone()
            writer.execute(f"PRAGMA max_page_count = {pages}")

        def large(tx: Transaction) -> int:
            return tx.run("put_fact", key="large", value="x" * 1_000_000)

        def wrong(tx: Transaction) -> None:
            raise KeyError("its own failure")

        await database.write(lambda _: fill())
        both = await asyncio.gather(
            database.write(large), database.write(wrong), return_exceptions=True
        )
        assert both[0] == 1
        assert isinstance(both[1], KeyError)
        assert made == ["ballast"]
        assert await database.read(lambda tx: tx.row("fact", key="large")) is not None

        await database.write(lambda _: fill())
        with pytest.raises(StorageFullError):  # there is no more to give
            await database.write(lambda tx: tx.run("put_fact", key="more", value="x" * 1_000_000))
        assert await database.read(lambda tx: tx.row("fact", key="more")) is None
