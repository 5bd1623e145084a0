"""Receives file system events. They are hints only: correctness depends on the rescan alone."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import functools
import logging
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from watchdog import events
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import ObservedWatch

from claraedge.blocking import in_thread
from claraedge.formats.filenames import DEFAULT, Names
from claraedge.fs.trusted import opened
from claraedge.inbox.inspection.settling import Heard
from claraedge.inbox.watching.observer import Observer

_log = logging.getLogger(__name__)

_EMITTER_LOGGER = "watchdog.observers.inotify"

#: Limits of a user's inotify watches; the second is that of the user namespace.
_LIMITS = (
    Path("/proc/sys/fs/inotify/max_user_watches"),
    Path("/proc/sys/user/max_inotify_watches"),
)

_WATCHED: list[type[FileSystemEvent]] = [
    events.FileCreatedEvent,
    events.FileModifiedEvent,
    events.FileOpenedEvent,
    events.FileClosedEvent,
    events.FileClosedNoWriteEvent,
    events.FileMovedEvent,
    events.FileDeletedEvent,
    events.DirCreatedEvent,
    events.DirMovedEvent,
    events.DirDeletedEvent,
]

_PLAIN = {
    events.FileCreatedEvent: Heard.CREATED,
    events.FileModifiedEvent: Heard.MODIFIED,
    events.FileOpenedEvent: Heard.OPENED,
    events.FileClosedEvent: Heard.CLOSED,
    events.FileClosedNoWriteEvent: Heard.CLOSED_UNWRITTEN,
    events.FileDeletedEvent: Heard.REMOVED,
    # A new folder has no writer itself; files created in it send events of their own.
    events.DirCreatedEvent: Heard.MOVED_IN,
    events.DirDeletedEvent: Heard.REMOVED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A hint that something happened to a path."""

    path: bytes
    heard: Heard


def signals(event: FileSystemEvent, names: Names) -> list[Signal]:
    """Returns the hints that an event of watchdog stands for."""
    source, target = os.fsencode(event.src_path or b""), os.fsencode(event.dest_path or b"")
    plain = _PLAIN.get(type(event))
    if plain is not None:
        return [Signal(path=source, heard=plain)]
    if not isinstance(event, events.FileMovedEvent | events.DirMovedEvent):
        return []
    found = []
    if source:
        found.append(Signal(path=source, heard=Heard.REMOVED))
    if target:
        whole = source != b"" and _is_temporary(source, names)
        heard = Heard.MOVED_FROM_TEMPORARY if whole else Heard.MOVED_IN
        found.append(Signal(path=target, heard=heard))
    return found


def _is_temporary(path: bytes, names: Names) -> bool:
    """Whether a path is that of an unfinished file, by its name or that of its folder.

    rsync --partial-dir is a program with a folder for such files.
    """
    folder, _, name = path.rpartition(b"/")
    inner = folder.rpartition(b"/")[2]
    return name.startswith(b".") or any(map(names.unfinished, (name, inner)))


def _says_more_than_that_it_stops(record: logging.LogRecord) -> bool:
    return "thread is inactive" not in record.getMessage()


class _Handler(FileSystemEventHandler):
    def __init__(self, hear: Callable[[list[Signal]], None], names: Names) -> None:
        self._hear = hear
        self._names = names

    def dispatch(self, event: FileSystemEvent) -> None:
        """Passes the hints of an event on, except for events that watchdog has made up itself."""
        if not event.is_synthetic:
            self._hear(signals(event, self._names))


@dataclass(slots=True)
class _Watched:
    watch: ObservedWatch
    identity: tuple[int, int]


class Watcher:
    """Watches folders with their whole trees, and passes hints to the event loop.

    `heard` receives hints in batches. `lost` is called when some were lost, because the kernel
    dropped them or a folder was replaced: earlier hints may be outdated then, and none of them
    is delivered after that call. A folder that cannot be watched is logged once and tried again at
    each `watch`; until then, changes in it are found only by listing it.
    """

    def __init__(
        self,
        heard: Callable[[Sequence[Signal]], None],
        lost: Callable[[], None],
        names: Names = DEFAULT,
    ) -> None:
        self._heard = heard
        self._names = names
        self._lost = lost
        self._loop: asyncio.AbstractEventLoop | None = None
        self._observer: Observer | None = None
        self._watched: dict[Path, _Watched] = {}
        self._unwatched: set[Path | None] = set()
        """Folders that cannot be watched, which is logged; None: nothing can be watched."""
        self._roots: frozenset[Path] = frozenset()
        self._refused_at: bytes | None = None
        """The limits of watches in force when an inner folder got no watch; None: all have one."""
        self._queue: collections.deque[Signal] = collections.deque()
        self._lock = threading.Lock()
        self._scheduled = False
        self._era = 0
        """Number of the current observer: hints from earlier ones are dropped."""
        self._outdated = False
        """The observer of this era has lost events."""

    @property
    def partial(self) -> bool:
        """Whether some folders cannot be watched, and have to be polled instead."""
        return bool(self._unwatched) or self._refused_at is not None

    async def watch(self, folders: Sequence[Path]) -> bool:
        """Watches these folders and no others; True where a folder got a new watch.

        Call it at every rescan: it detects folders that were moved, unmounted or created again.
        """
        self._loop = asyncio.get_running_loop()
        return await in_thread(self._watch, folders)

    async def stop(self) -> None:
        """Removes all watches and ends the threads of the observer."""
        await in_thread(self._stop)

    # --- in threads -----------------------------------------------------------------------------

    def _watch(self, folders: Sequence[Path]) -> bool:
        self._roots = frozenset(folders)
        if self._observer is not None and self._is_over(self._observer):
            self._lose()
            self._stop()
        observer = self._observe()
        if observer is None:
            return False
        added = False
        for folder in [f for f in self._watched if f not in folders]:
            with contextlib.suppress(KeyError, OSError):  # the watch may have ended by itself
                observer.unschedule(self._watched.pop(folder).watch)
        self._unwatched &= {None, *folders}
        for folder in folders:
            if folder in self._watched:
                continue
            try:
                identity = _identity(folder)
                handler = _Handler(functools.partial(self._receive, self._era), self._names)
                watch = observer.schedule(
                    handler, str(folder), recursive=True, event_filter=_WATCHED
                )
            except OSError as error:
                self._report(folder, error)
                continue
            self._watched[folder] = _Watched(watch, identity)
            self._unwatched.discard(folder)
            added = True
        return added

    def _is_over(self, observer: Observer) -> bool:
        """Whether an observer misses events, or watches folders that are not the current ones."""
        if self._outdated or not observer.hears():
            return True
        if self._refused_at is not None and self._refused_at != _limit():
            return True
        return any(
            _identity_or_none(folder) not in (None, watched.identity)
            or not _lives(observer, watched)
            for folder, watched in self._watched.items()
        )

    def _observe(self) -> Observer | None:
        if self._observer is None:
            # A folder that is found twice while its watch is added is harmless: no warning.
            warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
            logging.getLogger(_EMITTER_LOGGER).addFilter(_says_more_than_that_it_stops)
            self._outdated, self._refused_at = False, None
            try:
                observer = Observer(self._lose, self._refuse)
                observer.start()
            except OSError as error:
                self._report(None, error)
                return None
            self._observer = observer
            self._unwatched.discard(None)
        return self._observer

    def _report(self, folder: Path | None, error: OSError) -> None:
        if folder not in self._unwatched:
            self._unwatched.add(folder)
            _warn(folder or "the inbox", error)

    def _refuse(self, folder: Path, error: OSError) -> None:
        """Notes, and logs once, that a folder inside a watched one got no watch."""
        if self._refused_at is None and folder not in self._roots:
            self._refused_at = _limit()
            _warn(f"{folder}, and perhaps others,", error)

    def _lose(self) -> None:
        with self._lock:
            if self._outdated:
                return
            self._outdated = True
            self._era += 1
            self._queue.clear()
        self._on_loop(self._lost)

    def _stop(self) -> None:
        observer, self._observer = self._observer, None
        self._watched.clear()
        if observer is not None:
            observer.stop()
            observer.join()

    def _receive(self, era: int, found: list[Signal]) -> None:
        if not found:
            return
        with self._lock:
            if era != self._era:
                return
            self._queue.extend(found)
            if self._scheduled:
                return
            self._scheduled = True
        self._on_loop(self._drain)

    def _on_loop(self, call: Callable[[], None]) -> None:
        # A closed loop means that the process is ending: the call is not needed any more.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)

    # --- in the event loop ----------------------------------------------------------------------

    def _drain(self) -> None:
        with self._lock:
            self._scheduled = False
            batch = list(self._queue)
            self._queue.clear()
        self._heard(batch)


def _identity(folder: Path) -> tuple[int, int]:
    with opened(folder) as place:
        status = place.stat()
    return status.st_dev, status.st_ino


def _identity_or_none(folder: Path) -> tuple[int, int] | None:
    try:
        return _identity(folder)
    except OSError:
        return None


def _lives(observer: Observer, watched: _Watched) -> bool:
    return any(
        e.watch == watched.watch and e.is_alive() and e.should_keep_running()
        for e in list(observer.emitters)
    )


def _limit() -> bytes:
    try:
        return b"".join(path.read_bytes() for path in _LIMITS)
    except OSError:
        return b""


def _warn(folder: Path | str, error: OSError) -> None:
    remedy = ""
    if error.errno in (errno.ENOSPC, errno.EMFILE):
        limit = "max_user_watches" if error.errno == errno.ENOSPC else "max_user_instances"
        remedy = f"; raise fs.inotify.{limit} with sysctl"
    _log.warning(
        "%s cannot be watched (%s); new entries are seen at the next rescan%s",
        folder,
        error.strerror or error,
        remedy,
    )
