"""One SQLite file, one writer thread, read-only readers.

The writer drains its queue into one `BEGIN IMMEDIATE` transaction with a savepoint for each task,
commits, and only then answers: many callers share one fsync, and no caller learns of a change that
a power cut can still undo. Plain `BEGIN` is never used for a write: it fails with
SQLITE_BUSY_SNAPSHOT at once where a reader's snapshot is upgraded.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from claraedge.appliance.lock import FileLock
from claraedge.blocking import in_thread
from claraedge.errors import (
    AlreadyRunningError,
    ClaraedgeError,
    StateFolderError,
    StorageFullError,
    UnavailableError,
)
from claraedge.store import copies, replacing, soundness
from claraedge.store.contention import BUSY_MS, Contention
from claraedge.store.migrations import migrate, refuse_foreign, refuse_newer
from claraedge.store.queries import load_queries
from claraedge.store.write_queue import WriteQueue, WriteTask

T = TypeVar("T")

Parameter: TypeAlias = str | bytes | int | float | None
Row: TypeAlias = sqlite3.Row

#: Most concurrent reads.
_READERS = 4
#: Most concurrent reads of pages of lists: the other readers are left to short reads.
_PAGE_READERS = 2
#: Size (bytes) to which the write-ahead log is truncated after a long reader has let it grow.
_WAL_BYTES = 8 << 20
#: Interval (s) at which `answers` checks whether the state waits for a lock.
_ASK = 0.2


class Transaction:
    """Runs named queries on one connection, inside a transaction that others begin and end."""

    def __init__(self, connection: sqlite3.Connection, queries: Mapping[str, str]) -> None:
        self._connection = connection
        self._queries = queries

    def run(self, query: str, **parameters: Parameter) -> int:
        """Runs a change; returns the number of rows that it affected."""
        return self._connection.execute(self._queries[query], parameters).rowcount

    def run_many(self, query: str, rows: Iterator[Mapping[str, Parameter]]) -> None:
        """Runs a change once for each set of parameters."""
        self._connection.executemany(self._queries[query], rows)

    def rows(self, query: str, **parameters: Parameter) -> list[Row]:
        """Returns all rows of a query."""
        return self._connection.execute(self._queries[query], parameters).fetchall()

    def each(self, query: str, **parameters: Parameter) -> Iterator[Row]:
        """Iterates over the rows of a query, which are read as needed."""
        return self._connection.execute(self._queries[query], parameters)

    def row(self, query: str, **parameters: Parameter) -> Row | None:
        """Returns the first row of a query, or None."""
        found: Row | None = self._connection.execute(self._queries[query], parameters).fetchone()
        return found


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if read_only:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )
    else:
        connection = sqlite3.connect(path, check_same_thread=False)
    connection.isolation_level = None
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA cell_size_check = ON")  # a damaged page is found when it is read
    return connection


class Database:
    """The state of one daemon. Open it with `async with Database(path)`.

    Raises AlreadyRunningError where another process has it open, NewerStateError (and does not
    change the file) where a newer claraedge wrote it, StateFolderError where it is no database, and
    DamagedStateError where any part of it is damaged or missing.

    Where another process has a lock, all calls wait for it, also at the start.

    Once damage or a broken disk is found while working, nothing is read or written any more: every
    call raises that error, and so does `watch`.
    """

    def __init__(self, path: Path, *, on_full: Callable[[], bool] = lambda: False) -> None:
        """`on_full` frees space on a full disk and returns whether it did; called in any thread."""
        self.path = path
        self._on_full = on_full
        self._queries = load_queries()
        self._lock = FileLock(path.with_suffix(".lock"))
        self._tasks: WriteQueue[Transaction] = WriteQueue()
        self._contention = Contention(path)
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._reader_slots = asyncio.Semaphore(_READERS)
        self._page_slots = asyncio.Semaphore(_PAGE_READERS)
        self._watched: tuple[str, Callable[[int], None], asyncio.AbstractEventLoop] | None = None
        self._last_seen = 0
        self._writer: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._open_files = contextlib.ExitStack()
        """Files that may be closed only once no connection is open."""
        self._closed = True
        self.unusable: StateFolderError | None = None
        """The error that ended all work with the state; None: it is usable."""
        self._met = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            await in_thread(self._open)
        except asyncio.CancelledError:
            self._contention.close()  # ends the thread, which may wait for a lock
            raise
        self._thread = threading.Thread(target=self._write_all, name="database", daemon=True)
        self._thread.start()
        self._closed = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._contention.close()
        self._closed = True  # before the end of the queue: no task may follow that
        self._tasks.close()
        if self._thread is not None:
            await in_thread(self._thread.join)
        await in_thread(self._close)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` in a transaction and returns its result once the changes are on the disk.

        An error of `work` undoes only its own changes, and is raised here. Raises StorageFullError
        where the disk is full; nothing is changed then. Cancelling the caller does not undo the
        changes. Where `on_full` has freed space, `work` runs a second time: it must have no effect
        other than on the transaction. Raises UnavailableError after the database was closed.
        """
        self._refuse_closed()
        return await self._tasks.put(work)

    def warnings(self) -> list[str]:
        """Returns what prevents writing the state, or lets it grow, as texts for people."""
        return self._contention.warnings()

    async def answers(self, work: Callable[[Transaction], object]) -> None:
        """Returns once `work` is written, or as soon as it is known to wait for a lock.

        Raises as `write` does.
        """
        writing = asyncio.ensure_future(self.write(work))
        try:
            while not (self._contention.waits or writing.done()):
                await asyncio.wait({writing}, timeout=_ASK)
            if writing.done():
                writing.result()
        finally:
            writing.cancel()

    async def watch(self) -> None:
        """Waits until the state cannot be used any more, and raises the StateFolderError."""
        await self._met.wait()
        self._refuse_unusable()

    def after_commit(self, query: str, callback: Callable[[int], None]) -> None:
        """Calls `callback` in this event loop after each commit that changed a query's number.

        The query returns one row with one number, which `callback` receives. A further call
        replaces the callback.
        """
        self._watched = (query, callback, asyncio.get_running_loop())

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` on one consistent snapshot, concurrently with the writer.

        Raises UnavailableError after the database was closed.
        """
        async with self._reader_slots:
            self._refuse_closed()
            return await in_thread(self._read, work)

    async def read_page(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` like `read`, for a page of a list: some readers stay free for other reads.

        Raises as `read` does.
        """
        async with self._page_slots:
            return await self.read(work)

    def _refuse_closed(self) -> None:
        self._refuse_unusable()
        if self._closed:
            raise UnavailableError("the daemon is stopping; try again once it runs")

    def _refuse_unusable(self) -> None:
        if self.unusable is not None:  # a new error for each caller, with its own traceback
            raise type(self.unusable)(*self.unusable.messages)

    def _meaning(self, error: BaseException) -> BaseException:
        """Returns the error to raise for another one; damage of the state ends all work with it."""
        found = soundness.explain(error, self.path)
        if found is None:
            return error
        if isinstance(found, StateFolderError) and self.unusable is None:
            self.unusable = found
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # a closed loop: the process ends
                    self._loop.call_soon_threadsafe(self._met.set)
        found.__cause__ = error
        return found

    # --- in threads ----------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._lock.acquire()
        except AlreadyRunningError as error:
            raise AlreadyRunningError(
                f"{self.path} is open in another claraedge daemon ({error}); stop that one, or give"
                " this one a state folder of its own (CLARAEDGE_STATE_DIR)"
            ) from error
        except OSError as error:
            raise StateFolderError(
                f"{self._lock.path} cannot be opened ({error.strerror}); check the owner and the"
                " permissions of the state folder and of what is in it (`ls -la`)"
            ) from error
        try:
            replacing.settle(self.path.parent)
            soundness.refuse_unusable(self.path)
            refuse_newer(self.path)
            soundness.refuse_lost(self.path)
            self._contention.patiently(self._open_writer)
        except (sqlite3.Error, OSError) as error:
            known = self._meaning(error)
            self._close()
            if isinstance(known, ClaraedgeError):
                raise known from error
            raise StateFolderError(
                f"{self.path} cannot be used as the state: {error}. Check its disk, and the owner"
                f" and the permissions of it and of the files next to it (`ls -la"
                f" {self.path.parent}`)"
            ) from error
        except StateFolderError as error:
            self.unusable = error
            self._close()
            raise
        except UnicodeDecodeError as error:  # of a message of SQLite, see FAILURES
            self.unusable = soundness.damaged(self.path, "names of its tables are no text")
            self._close()
            raise self.unusable from error
        except BaseException:
            self._close()
            raise

    def _open_writer(self) -> None:
        if self._writer is None:
            self._writer = _connect(self.path, read_only=False)
        self.path.chmod(0o600)
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        soundness.check(self._writer, self.path, self._open_files)
        refuse_foreign(self._writer)
        copies.before_change(self._writer, self.path)
        migrate(self._writer)
        soundness.check_values(self._writer, self.path)
        copies.note_version(self._writer)

    def _close(self) -> None:
        if self.unusable is not None and self._writer is not None:
            self._leave_as_it_is(self._writer)
        while not self._readers.empty():
            self._readers.get().close()
        if self._writer is not None:
            with contextlib.suppress(*soundness.FAILURES):  # the WAL is complete without it
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.close()
            self._writer = None
        self._open_files.close()
        self._lock.release()

    def _leave_as_it_is(self, writer: sqlite3.Connection) -> None:
        """Closes the writer while a read-only connection is open.

        The last connection that closes would write the log into the file and remove it; a
        read-only one cannot, and so a damaged database is not changed.
        """
        with contextlib.suppress(*soundness.FAILURES):
            reader = _connect(self.path, read_only=True)
            self._readers.put(reader)
            reader.execute("PRAGMA schema_version")
        writer.close()
        self._writer = None

    def _read(self, work: Callable[[Transaction], T]) -> T:
        try:
            return self._contention.patiently(lambda: self._read_one(work))
        except sqlite3.Error as error:
            known = self._meaning(error)
            if known is error:
                raise
            raise known from error

    def _read_one(self, work: Callable[[Transaction], T]) -> T:
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = _connect(self.path, read_only=True)
        try:
            connection.execute("BEGIN")
            try:
                return work(Transaction(connection, self._queries))
            finally:
                if connection.in_transaction:  # SQLite ends it itself where the disk fails
                    connection.execute("ROLLBACK")
        finally:
            self._readers.put(connection)

    def _write_all(self) -> None:
        try:
            for batch in self._tasks.batches():
                self._commit(batch)
        finally:  # answers waiting callers, also where a bug ended this thread
            self._closed = True
            self._tasks.refuse_rest()

    def _commit(self, batch: list[WriteTask[Transaction, Any]]) -> None:
        full = self._try(batch)
        if full and self._on_full():
            self._try(full)
        for task in batch:
            task.answer()
        assert self._writer is not None
        self._tell_watcher(Transaction(self._writer, self._queries))

    def _try(self, batch: list[WriteTask[Transaction, Any]]) -> list[WriteTask[Transaction, Any]]:
        """Runs tasks in one transaction; returns those that failed because the disk is full."""
        writer = self._writer
        assert writer is not None
        transaction = Transaction(writer, self._queries)
        try:
            self._refuse_unusable()
            self._contention.patiently(lambda: writer.execute("BEGIN IMMEDIATE"))
            for task in batch:
                task.error = None
                writer.execute("SAVEPOINT task")
                try:
                    task.result = task.work(transaction)
                except BaseException as error:
                    if not writer.in_transaction:  # SQLite rolled back everything (disk full)
                        raise
                    writer.execute("ROLLBACK TO task")
                    task.error = self._meaning(error)
                    self._refuse_unusable()
                writer.execute("RELEASE task")
            writer.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - every caller receives it
            with contextlib.suppress(sqlite3.Error):  # else rolled back when the connection closes
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
            failure = self._meaning(error)
            for task in batch:
                task.error = failure
        return [task for task in batch if isinstance(task.error, StorageFullError)]

    def _tell_watcher(self, transaction: Transaction) -> None:
        if self._watched is None or self.unusable is not None:
            return
        query, callback, loop = self._watched
        try:
            row = transaction.row(query)
        except sqlite3.Error:  # the next commit will report this change as well
            return
        number = 0 if row is None else int(row[0])
        if number != self._last_seen:
            self._last_seen = number
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(callback, number)
