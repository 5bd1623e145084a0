"""What ends the process twice while one thing is worked on is set aside at the next start.

Which things are in work stands in a file that no crash of the process takes back: `pwrite` puts it
into the kernel's cache, without a sync. A start reads what the last process left there. What was in
work at two ends in a row that were neither a stop (SIGTERM) nor those of the machine is set aside:
work on it raises SetAsideError, for which its caller parks it alone, until `try_again`.

A `kill -9` counts as a crash: nothing tells it from the end by an empty memory.
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
#: Bytes of a place in the file, and how many there are; the first one is the head.
_PLACE, _PLACES = 1024, 256
_LONGEST = 320
#: Seconds that a suspect waits for the others, which may hang; and between two looks at their end.
_TURN, _POLL = 60.0, 0.05


class Work(enum.Enum):
    """What can be worked on, in the words of `claraedge retry`."""

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
    """What is recorded of ends."""

    suspects: frozenset[_Thing] = frozenset()
    """In work at the last end, where that was a crash."""
    judged: str = ""
    """The life whose end that was."""
    aside: frozenset[_Thing] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What a process left."""

    life: str
    boot: str
    stopped: bool
    works: frozenset[_Thing]


def judged(books: Books, end: End | None, boot: str) -> Books:
    """The books after an end; `boot`: the machine's present one."""
    if end is None or end.stopped or end.boot != boot:
        return Books(aside=books.aside)
    if end.life == books.judged:  # a crash came between the books and the new file
        return books
    twice = books.suspects & end.works
    return Books(suspects=end.works - twice, aside=books.aside | twice, judged=end.life)


class Suspects:
    """The things in work, and those that are set aside. Any thread may use it."""

    def __init__(self, path: Path | None = None, boot: str = "") -> None:
        """`path`: its file; without one nothing is recorded. `boot`: the machine's boot id."""
        self._path = path
        self._boot = boot
        self._life = new_id()
        self._file: int | None = None
        self._free: list[int] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        """Of suspects one after the other is worked on: the next end tells which one it was."""
        self._books = Books()
        self._database: Database | None = None

    async def prepare(self, database: Database) -> None:
        """At start, before anything is worked on: judges the end of the last process."""
        self._database = database
        row = await database.read(lambda tx: tx.row("fact", key=_FACT))
        before = Books() if row is None else decode_json(row["value"], Books)
        end = None if self._path is None else _left(self._path)
        self._books = judged(before, end, self._boot)
        if self._books != before:
            with contextlib.suppress(StorageFullError):  # a full disk keeps no start from work
                await self._record()  # before the file is begun anew
        for kind, name in sorted(self._books.aside - before.aside):
            _log.error(
                "set aside: the daemon ended twice while it worked on this",
                extra={"kind": kind, "thing": name},
            )
        self._open()

    async def run(self) -> None:
        """Until it is cancelled, which is a stop: what is in work then is not to blame."""
        try:
            await asyncio.Event().wait()
        finally:
            self._write(0, self._head(stopped=True))

    def close(self) -> None:
        """Nothing is worked on any more."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    @contextlib.contextmanager
    def on(self, kind: Work, name: str) -> Iterator[None]:
        """Something is worked on inside of this context, in a thread; it may wait for its turn.

        Raises SetAsideError for what must not be worked on.
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
        """The same on the loop."""
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
            yield  # what ends the process skips what follows
        finally:
            if place is not None:
                self._write(place, b"")
                with self._lock:
                    self._free.append(place)

    def refuse(self, kind: Work, name: str) -> None:
        """Raises SetAsideError for what is set aside."""
        thing = (kind.value, _fitting(name))
        if thing in self._books.aside:
            raise SetAsideError(_told(*thing))

    def warnings(self) -> Sequence[str]:
        """What is set aside, for `claraedge status`."""
        return [_told(*thing) for thing in sorted(self._books.aside)]

    async def try_again(self, kind: Work, name: str) -> None:
        """Has it worked on again. Raises NotSetAsideError."""
        thing = (kind.value, _fitting(name))
        if thing not in self._books.aside:
            raise NotSetAsideError(
                f"no {kind.value} {name!r} is set aside; `claraedge status` names what is"
            )
        self._books = msgspec.structs.replace(self._books, aside=self._books.aside - {thing})
        await self._record()
        _log.info("no more set aside", extra={"kind": kind.value, "thing": name})

    async def forget(self, kind: Work, name: str) -> None:
        """As `try_again`, of what may not be set aside: it is told elsewhere, or gone."""
        with contextlib.suppress(NotSetAsideError):
            await self.try_again(kind, name)

    async def _record(self) -> None:
        assert self._database is not None, "after prepare"
        text = msgspec.json.encode(self._books).decode()
        await self._database.write(lambda tx: tx.run("put_fact", key=_FACT, value=text))

    def _open(self) -> None:
        """Begins the file anew. Where that cannot be, nothing is recorded: work goes on."""
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
        # A full disk: a crash is then nobody's. The lock: a thread may outlive what it works for.
        with contextlib.suppress(OSError), self._lock:
            if self._file is not None:
                os.pwrite(self._file, content.ljust(_PLACE, b"\0"), place * _PLACE)


#: Records nothing, sets nothing aside: for parts that a test builds alone.
UNRECORDED = Suspects()


def _left(path: Path) -> End | None:
    """What the last process left in its file; None: nothing can be said."""
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
    """Itself, or what stands for it in a place: text that is not too long."""
    data = name.encode("utf-8", "backslashreplace")
    if len(data) <= _LONGEST and name.isprintable():
        return name
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    return f"{ascii(name)[1:-1][:100]}...{digest}"


def _told(kind: str, name: str) -> str:
    again = f"claraedge retry {kind} {shlex.quote(name)}"
    return (
        f"set aside: the daemon ended twice while it {_DOING[Work(kind)]} {name}; look into"
        f" `journalctl -u claraedge`, then have it tried again: `{again}`"
    )
