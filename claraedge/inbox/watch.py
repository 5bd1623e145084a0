"""Hears of changes from the kernel. What it says are hints: the rescan is the truth."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
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
from watchdog.observers.inotify import InotifyObserver

from claraedge.blocking import in_thread
from claraedge.filenames import is_temporary
from claraedge.inbox.settling import Heard

_log = logging.getLogger(__name__)

#: watchdog tells of lost events by its log alone.
_OVERFLOW_LOGGER = "watchdog.observers.inotify_c"
_EMITTER_LOGGER = "watchdog.observers.inotify"
_OVERFLOW_TEXT = "events were lost"

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
    # A new folder has no writer; what is made in it says so itself.
    events.DirCreatedEvent: Heard.MOVED_IN,
    events.DirDeletedEvent: Heard.REMOVED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A hint."""

    path: bytes
    heard: Heard


def signals(event: FileSystemEvent) -> list[Signal]:
    """The hints of an event of watchdog's."""
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
        whole = source != b"" and is_temporary(source.rpartition(b"/")[2])
        heard = Heard.MOVED_FROM_TEMPORARY if whole else Heard.MOVED_IN
        found.append(Signal(path=target, heard=heard))
    return found


class _Overflow(logging.Handler):
    def __init__(self, lost: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._lost = lost

    def emit(self, record: logging.LogRecord) -> None:
        if _OVERFLOW_TEXT in record.getMessage():
            self._lost()


def _says_more_than_that_it_stops(record: logging.LogRecord) -> bool:
    return "thread is inactive" not in record.getMessage()


class _Handler(FileSystemEventHandler):
    def __init__(self, hear: Callable[[list[Signal]], None]) -> None:
        self._hear = hear

    def dispatch(self, event: FileSystemEvent) -> None:
        if not event.is_synthetic:
            self._hear(signals(event))


@dataclass(slots=True)
class _Watched:
    watch: ObservedWatch
    identity: tuple[int, int]


class Watcher:
    """Watches folders with all that is in them, and hands hints to the loop.

    `heard` gets them in batches, `lost` is called where the kernel dropped some. A folder that
    cannot be watched is told of once and tried again by `watch`; then the rescan alone sees it.
    """

    def __init__(self, heard: Callable[[Sequence[Signal]], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._loop: asyncio.AbstractEventLoop | None = None
        self._observer: InotifyObserver | None = None
        self._overflow = _Overflow(self._overflowed)
        self._watched: dict[Path, _Watched] = {}
        self._told: set[Path | None] = set()
        self._queue: collections.deque[Signal] = collections.deque()
        self._lock = threading.Lock()
        self._scheduled = False

    async def watch(self, folders: Sequence[Path]) -> bool:
        """Watches these folders and no others; True where a folder is watched anew.

        Called again at every rescan: a folder that was moved, unmounted or made anew is noticed.
        """
        self._loop = asyncio.get_running_loop()
        return await in_thread(self._watch, folders)

    async def stop(self) -> None:
        await in_thread(self._stop)

    # --- in threads -----------------------------------------------------------------------------

    def _watch(self, folders: Sequence[Path]) -> bool:
        observer = self._observe()
        if observer is None:
            return False
        anew = False
        for folder in [f for f in self._watched if f not in folders]:
            self._forget(observer, folder)
        for folder in folders:
            try:
                status = folder.stat()
                identity = (status.st_dev, status.st_ino)
                known = self._watched.get(folder)
                if known is not None and known.identity == identity and self._lives(known):
                    continue
                if known is not None:
                    self._forget(observer, folder)
                watch = observer.schedule(
                    _Handler(self._take), str(folder), recursive=True, event_filter=_WATCHED
                )
            except OSError as error:
                self._tell(folder, error)
                continue
            self._watched[folder] = _Watched(watch, identity)
            self._told.discard(folder)
            anew = True
        return anew

    def _observe(self) -> InotifyObserver | None:
        if self._observer is None:
            # A folder that is seen twice while its watch is added is no matter for a log.
            warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
            logging.getLogger(_EMITTER_LOGGER).addFilter(_says_more_than_that_it_stops)
            try:
                observer = InotifyObserver(generate_full_events=True)
                observer.start()
            except OSError as error:
                self._tell(None, error)
                return None
            self._observer = observer
            self._told.discard(None)
            logger = logging.getLogger(_OVERFLOW_LOGGER)
            logger.addHandler(self._overflow)
            if not logger.isEnabledFor(logging.WARNING):
                logger.setLevel(logging.WARNING)
        return self._observer

    def _lives(self, watched: _Watched) -> bool:
        assert self._observer is not None
        return any(
            e.watch == watched.watch and e.is_alive() and e.should_keep_running()
            for e in list(self._observer.emitters)
        )

    def _forget(self, observer: InotifyObserver, folder: Path) -> None:
        watched = self._watched.pop(folder)
        with contextlib.suppress(KeyError, OSError):  # it may have ended by itself
            observer.unschedule(watched.watch)

    def _tell(self, folder: Path | None, error: OSError) -> None:
        if folder in self._told:
            return
        self._told.add(folder)
        remedy = ""
        if error.errno in (errno.ENOSPC, errno.EMFILE):
            limit = "max_user_watches" if error.errno == errno.ENOSPC else "max_user_instances"
            remedy = f"; raise fs.inotify.{limit} with sysctl"
        _log.warning(
            "%s cannot be watched (%s); new entries are seen at the next rescan%s",
            folder or "the inbox",
            error.strerror or error,
            remedy,
        )

    def _stop(self) -> None:
        logging.getLogger(_OVERFLOW_LOGGER).removeHandler(self._overflow)
        observer, self._observer = self._observer, None
        self._watched.clear()
        if observer is not None:
            observer.stop()
            observer.join()

    def _take(self, found: list[Signal]) -> None:
        if not found:
            return
        with self._lock:
            self._queue.extend(found)
            if self._scheduled:
                return
            self._scheduled = True
        self._on_loop(self._drain)

    def _overflowed(self) -> None:
        self._on_loop(self._lost)

    def _on_loop(self, call: Callable[[], None]) -> None:
        # A closed loop means that the process is ending; nobody listens any more.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)

    # --- on the loop ----------------------------------------------------------------------------

    def _drain(self) -> None:
        with self._lock:
            self._scheduled = False
            batch = list(self._queue)
            self._queue.clear()
        self._heard(batch)
