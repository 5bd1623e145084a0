"""Sets aside things that crashed the daemon twice while it worked on them.

The things in work are recorded in a file that survives a crash of the process: `pwrite` writes to
the kernel's page cache, without a sync. At start the daemon reads what the previous process
recorded. A thing that was in work at two consecutive crashes is set aside: work on it raises
SetAsideError, on which the caller parks that thing alone, until `try_again`. A stop (SIGTERM) or a
reboot of the machine is not a crash.

A `kill -9` counts as a crash, because it cannot be distinguished from a kill for lack of memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import hashlib
import logging
import os
import shlex
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import NotSetAsideError, SetAsideError, StorageFullError
from claraedge.ids import new_id
from claraedge.store.database import Database

_log = logging.getLogger(__name__)

_FACT = "suspects"
#: Bytes of a place in the file, and the number of places; the first place is the head.
_PLACE, _PLACES = 1024, 256
#: Bytes of the longest name that is written in full.
_LONGEST = 320
#: Seconds that a suspect waits at most for other suspects, which may hang; and between two checks.
_TURN, _POLL = 60.0, 0.05


class Work(enum.Enum):
    """Kinds of things that can be worked on, named as in `claraedge retry`."""

    INBOX = "inbox"
    JOB = "job"
    DELIVERY = "delivery"
    REMOVAL = "removal"
    IMAGE = "image"
    PIPELINE = "pipeline"
    MODEL = "model"


_DOING = {
    Work.INBOX: "took the item",
    Work.JOB: "took up what an operator left of job",
    Work.DELIVERY: "delivered the results of job",
    Work.REMOVAL: "removed",
    Work.IMAGE: "loaded the archive",
    Work.PIPELINE: "read the definition",
    Work.MODEL: "removed an old version of the model",
}


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    life: str
    boot: str
    stopped: bool


_Thing: TypeAlias = tuple[str, str]


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """The record of crashes and their suspects, stored in the database."""

    suspects: frozenset[_Thing] = frozenset()
    """The things that were in work at the last end, if that was a crash."""
    judged: str = ""
    """The id of the process whose crash was counted last."""
    aside: frozenset[_Thing] = frozenset()
    """The things that are set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The state in which a process ended, read from its file."""

    life: str
    boot: str
    stopped: bool
    works: frozenset[_Thing]


def judged(books: Books, end: End | None, boot: str) -> Books:
    """Returns the record after the end of a process; `boot` is the current boot id."""
    if end is None or end.stopped or end.boot != boot:
        return Books(aside=books.aside)
    if end.life == books.judged:  # crash after the record was stored, before the new file
        return books
    twice = books.suspects & end.works
    return Books(suspects=end.works - twice, aside=books.aside | twice, judged=end.life)


class Suspects:
    """The things in work and those that are set aside. Thread-safe."""

    def __init__(self, path: Path | None = None, boot: str = "") -> None:
        """`path` is the file (None: nothing is recorded), `boot` the boot id of the machine."""
        self._path = path
        self._boot = boot
        self._life = new_id()
        self._file: int | None = None
        self._free: list[int] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        """Suspects are worked on one at a time, so that the next crash identifies the cause."""
        self._books = Books()
        self._database: Database | None = None

    async def prepare(self, database: Database) -> None:
        """Judges the end of the previous process. Call it at start, before any work begins."""
        self._database = database
        row = await database.read(lambda tx: tx.row("fact", key=_FACT))
        before = Books() if row is None else decode_json(row["value"], Books)
        end = None if self._path is None else _left(self._path)
        self._books = judged(before, end, self._boot)
        if self._books != before:
            with contextlib.suppress(StorageFullError):  # a full disk must not prevent the start
                await self._record()  # before the file is overwritten
        for kind, name in sorted(self._books.aside - before.aside):
            _log.error(
                "set aside: the daemon ended twice while it worked on this",
                extra={"kind": kind, "thing": name},
            )
        self._open()

    async def run(self) -> None:
        """Waits until it is cancelled, then records a regular stop.

        Things that are in work at a regular stop do not become suspects.
        """
        try:
            await asyncio.Event().wait()
        finally:
            self._write(0, self._head(stopped=True))

    def close(self) -> None:
        """Closes the file; work is no longer recorded."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    @contextlib.contextmanager
    def on(self, kind: Work, name: str) -> Iterator[None]:
        """Records that a thing is in work while this context is open, in a thread.

        A suspect waits here until other suspects are done. Raises SetAsideError if the thing is set
        aside.
        """
        self.refuse(kind, name)
        turn = self._is_suspect(kind, name) and self._turn.acquire(timeout=_TURN)
        try:
            with self._noted(kind, name):
                yield
        finally:
            if turn:
                self._turn.release()

    @contextlib.asynccontextmanager
    async def during(self, kind: Work, name: str) -> AsyncIterator[None]:
        """Does the same as `on` for work on the event loop. Raises SetAsideError."""
        self.refuse(kind, name)
        turn, since = False, time.monotonic()
        while self._is_suspect(kind, name) and not turn and time.monotonic() < since + _TURN:
            turn = self._turn.acquire(blocking=False)
            if not turn:
                await asyncio.sleep(_POLL)
        try:
            with self._noted(kind, name):
                yield
        finally:
            if turn:
                self._turn.release()

    def _is_suspect(self, kind: Work, name: str) -> bool:
        return (kind.value, _fitting(name)) in self._books.suspects

    @contextlib.contextmanager
    def _noted(self, kind: Work, name: str) -> Iterator[None]:
        with self._lock:
            place = self._free.pop() if self._free else None
        if place is not None:
            self._write(place, msgspec.json.encode((kind.value, _fitting(name))))
        try:
            yield  # if the process crashes here, the record stays
        finally:
            if place is not None:
                self._write(place, b"")
                with self._lock:
                    self._free.append(place)

    def refuse(self, kind: Work, name: str) -> None:
        """Raises SetAsideError if the thing is set aside."""
        thing = (kind.value, _fitting(name))
        if thing in self._books.aside:
            raise SetAsideError(_message(*thing))

    def warnings(self) -> Sequence[str]:
        """Returns one warning for each thing that is set aside, for `claraedge status`."""
        return [_message(*thing) for thing in sorted(self._books.aside)]

    async def try_again(self, kind: Work, name: str) -> None:
        """Allows work on a thing that was set aside. Raises NotSetAsideError."""
        thing = (kind.value, _fitting(name))
        if thing not in self._books.aside:
            raise NotSetAsideError(
                f"no {kind.value} {name!r} is set aside; `claraedge status` names what is"
            )
        self._books = msgspec.structs.replace(self._books, aside=self._books.aside - {thing})
        await self._record()
        _log.info("no more set aside", extra={"kind": kind.value, "thing": name})

    async def forget(self, kind: Work, name: str) -> None:
        """Does the same as `try_again`, but ignores a thing that is not set aside."""
        with contextlib.suppress(NotSetAsideError):
            await self.try_again(kind, name)

    async def _record(self) -> None:
        assert self._database is not None, "after prepare"
        text = msgspec.json.encode(self._books).decode()
        await self._database.write(lambda tx: tx.run("put_fact", key=_FACT, value=text))

    def _open(self) -> None:
        """Creates or overwrites the file. If that fails, work continues without a record."""
        if self._path is None:
            return
        try:
            self._file = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            os.pwrite(self._file, self._head(stopped=False).ljust(_PLACE * _PLACES, b"\0"), 0)
        except OSError as error:
            _log.warning("what is in work cannot be recorded: %s", error)
            self.close()
            return
        self._free = list(range(_PLACES - 1, 0, -1))

    def _head(self, *, stopped: bool) -> bytes:
        return msgspec.json.encode(_Head(life=self._life, boot=self._boot, stopped=stopped))

    def _write(self, place: int, content: bytes) -> None:
        # On a full disk a crash is then attributed to nothing. The lock is needed because a thread
        # may still work after `close`.
        with contextlib.suppress(OSError), self._lock:
            if self._file is not None:
                os.pwrite(self._file, content.ljust(_PLACE, b"\0"), place * _PLACE)


#: Records nothing and sets nothing aside; for components that a test builds alone.
UNRECORDED = Suspects()


def _left(path: Path) -> End | None:
    """Reads what the previous process recorded; None if the file is missing or unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(_PLACE * _PLACES)
        said = decode_json(data[:_PLACE].rstrip(b"\0"), _Head)
    except (OSError, msgspec.DecodeError):
        return None
    works: set[_Thing] = set()
    for at in range(_PLACE, len(data), _PLACE):
        with contextlib.suppress(msgspec.DecodeError):
            works.add(decode_json(data[at : at + _PLACE].rstrip(b"\0"), _Thing))
    return End(life=said.life, boot=said.boot, stopped=said.stopped, works=frozenset(works))


def _fitting(name: str) -> str:
    """Returns the name, or if it does not fit into a place, a shortened form with a digest."""
    data = name.encode("utf-8", "backslashreplace")
    if len(data) <= _LONGEST and name.isprintable():
        return name
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    return f"{ascii(name)[1:-1][:100]}...{digest}"


def _message(kind: str, name: str) -> str:
    again = f"claraedge retry {kind} {shlex.quote(name)}"
    return (
        f"set aside: the daemon ended twice while it {_DOING[Work(kind)]} {name}; read the journal"
        f" (`journalctl -u claraedge`), then have it tried again: `{again}`"
    )
