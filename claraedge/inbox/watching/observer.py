"""watchdog's observer, corrected where it loses events or watches without reporting it.

Behaviour of watchdog that this module corrects:

- it only logs that the kernel dropped events (here, `lost` is called);
- it does not report which inner folders got no watch (here, `refused` is called);
- it leaves its watches on folders that were moved out of the tree;
- an inconsistency in its own tables ends its thread;
- it passes on through two threads that somebody opened or closed a folder, as each listing does;
- it delays all events that follow a move out of the tree by half a second, so after each claim, and
  cannot be stopped meanwhile;
- it walks a new folder again for each folder in it, so that a deep tree that is made fast overflows
  the kernel's queue with the events of these walks;
- it walks new folders by path, and so lists and watches the target of a link that somebody puts in
  the place of a folder meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from watchdog.events import DirMovedEvent
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter, InotifyObserver, InotifyWatchGroup
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)
from watchdog.observers.inotify_move_event_grouper import (
    GroupedInotifyEvent,
    InotifyMoveEventGrouper,
    PathedInotifyEvent,
)
from watchdog.utils.delayed_queue import DelayedQueue

from claraedge.fs.trusted import opened
from claraedge.fs.walking import walk

#: Events of a folder itself that change nothing.
_READ = InotifyConstants.IN_OPEN | InotifyConstants.IN_CLOSE_NOWRITE


class Observer(InotifyObserver):
    """An observer that reports, from its own threads, what watchdog loses.

    `lost` is called when the kernel dropped events: create another observer then. `refused` is
    called when a folder got no watch because the limit of watches is reached. Raises OSError where
    no inotify instance is left.
    """

    def __init__(self, lost: Callable[[], None], refused: Callable[[Path, OSError], None]) -> None:
        self._inotify_fd = _Descriptor(lost, refused)
        BaseObserver.__init__(self, _Emitter, inotify_fd=self._inotify_fd)
        self._inotify_fd.start()

    def hears(self) -> bool:
        """Whether its threads are alive: an error in watchdog ends them without a report."""
        return self._inotify_fd.is_alive() and self.is_alive()


class _Descriptor(InotifyFD):
    refused: Callable[[Path, OSError], None]

    def __init__(self, lost: Callable[[], None], refused: Callable[[Path, OSError], None]) -> None:
        super().__init__()
        self._lost = lost
        self.refused = refused

    def handle_event(self, event: InotifyEvent) -> None:
        """Handles an event; reports an overflow instead of watching all folders again.

        watchdog does the latter, and receives no more events where that fails.
        """
        if event.is_queue_overflow:
            self._lost()
        elif not (event.is_directory and event.mask & _READ):
            super().handle_event(event)

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        """Adds a watch. Raises OSError, unlike watchdog, also for a folder that may not be read."""
        watch = super().add_callback(path, mask, callback, id_)
        if watch == -1:
            with self._lock:
                self._watch_for_wd.pop(watch, None)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
        return watch


class _Moves(DelayedQueue[GroupedInotifyEvent]):
    """Events in their order, of which those that begin a move are returned after the delay."""

    def get(self) -> GroupedInotifyEvent | None:
        """Waits for the next event; None: the queue was closed. watchdog's sleeps, also then."""
        with self._not_empty:
            while not self._closed:
                event, since, begins = self._queue[0] if self._queue else (None, 0.0, False)
                left = since + self.delay - time.monotonic() if begins else 0.0
                if event is not None and left <= 0:
                    self._queue.popleft()
                    return event
                self._not_empty.wait(left if begins else None)
        return None


class _Pairs(InotifyMoveEventGrouper):
    """Pairs the two events of a move, which the kernel delivers together or in succession."""

    delay = 0.1
    """Seconds that the first event of a move waits for the second."""

    def __init__(self) -> None:
        self._queue = _Moves(self.delay)


@dataclass
class _Group(InotifyWatchGroup):
    """The watches of one tree."""

    _move_event_grouper: InotifyMoveEventGrouper = field(default_factory=_Pairs, init=False)
    _leaving: dict[int, Sequence[WatchDescriptor]] = field(default_factory=dict, init=False)
    """Cookie of a move -> the watches in the moved folder, until its destination is known."""
    _ends: set[bytes] = field(default_factory=set, init=False)
    """Folders whose inner folders were too deep for the walk that watched them."""
    _was_walked: bool = field(default=False, init=False)
    """The folder of the present event was watched and reported by the walk of one above it."""

    def on_event(self, event: InotifyEvent) -> None:
        """Handles an event; notes the watches below a folder that is moved."""
        if event.is_moved_from and event.is_directory:
            with self._lock:
                path = self._build_event_source_path(event)
                if path is not None:
                    self._leaving[event.cookie] = self._below(path)
        super().on_event(event)

    def stays(self, cookie: int) -> None:
        """Keeps the watches of a moved folder: it was moved to another place in the tree."""
        with self._lock:
            self._leaving.pop(cookie, None)

    def left(self, cookie: int) -> None:
        """Removes the watches of a folder that was moved out of the tree.

        Events in it do not concern us any more, and watches are limited.
        """
        with self._lock:
            for watch in self._leaving.pop(cookie, ()):
                path = self._active_callbacks_by_watch.get(watch)
                if self.is_active and path is not None and not self._is_at(path, watch):
                    self._remove_callbacks([watch])

    def _is_at(self, path: bytes, watch: WatchDescriptor) -> bool:
        """Whether a watch belongs to the folder that is at this path now.

        A new folder of the same name may have been watched before the move of the first was read.
        The kernel has one watch for each folder, so that adding it again returns the same one.
        """
        with contextlib.suppress(OSError), self._opened(path) as folder:
            self._add(os.fsencode(folder) + b"/.", path)
        return self._active_callbacks_by_path.get(path) == watch

    def _opened(self, path: bytes) -> contextlib.AbstractContextManager[Path]:
        """Opens a folder of the tree, following no link below the top. Raises OSError."""
        top = os.fsencode(self.path)
        return opened(Path(os.fsdecode(top)), path[len(top) :].lstrip(b"/"))

    def _add(self, place: bytes, path: bytes) -> None:
        """Watches the folder at `place`, which is no link, under the path `path`.

        Raises OSError only for the top of the tree; inner folders that fail are passed over.
        """
        descriptor = self._inotify_fd
        assert isinstance(descriptor, _Descriptor)
        try:
            watch = descriptor.add_callback(place, self.event_mask, self._callback, self._id)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                descriptor.refused(Path(os.fsdecode(path)), error)
            if path == self.path:
                raise
            return  # the folder is gone, may not be read, or the limit is reached
        self._active_callbacks_by_path[path] = watch
        self._active_callbacks_by_watch[watch] = path

    def _add_all_callbacks(self, path: bytes) -> None:
        watch = self._active_callbacks_by_path.get(path)
        is_end = path in self._ends
        self._ends.discard(path)
        self._was_walked = watch is not None and not is_end and self._is_at(path, watch)
        if self._was_walked:
            return
        try:
            with self._opened(path) as top:
                for entry in walk(top):
                    if not entry.is_folder:
                        continue
                    inner = path + b"/" + entry.path if entry.path else path
                    if entry.too_deep:
                        self._ends.add(inner.rpartition(b"/")[0])
                        continue
                    self._add(b"/proc/self/fd/%d/%s" % (entry.folder, entry.name), inner)
        except OSError:
            if path == self.path:
                raise

    def _recursive_simulate(self, src_path: bytes) -> list[InotifyEvent]:
        """Returns events for what was created in a new folder before it was watched."""
        found: list[InotifyEvent] = []
        if self._was_walked:
            return found
        with contextlib.suppress(OSError), self._opened(src_path) as top:
            for entry in walk(top):
                above = (src_path + b"/" + entry.path).rpartition(b"/")[0]
                watch = self._active_callbacks_by_path.get(above)
                if entry.path and watch is not None:
                    kind = InotifyConstants.IN_ISDIR if entry.is_folder else 0
                    mask = Mask(InotifyConstants.IN_CREATE | kind)
                    found.append(InotifyEvent(watch, mask, 0, entry.name))
        return found

    def _below(self, top: bytes) -> list[WatchDescriptor]:
        inside = top + b"/"
        return [
            watch
            for watch, path in self._active_callbacks_by_watch.items()
            if path == top or path.startswith(inside)
        ]

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        """Forgets a watch, correctly for any order of events.

        Another folder may have taken the path of a moved one.
        """
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]
            self._ends.discard(path)


class _Emitter(InotifyFullEmitter):
    def on_thread_start(self) -> None:
        """Creates the watches of the tree, with the group class of this module."""
        self._inotify = _Group(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
            follow_symlink=self.watch.follow_symlink,
        )

    def build_and_queue_event(
        self, event: GroupedInotifyEvent, *, full_events: bool = True
    ) -> None:
        """Queues an event; for a moved folder, unlike watchdog, no events of its content.

        Nothing here uses those.
        """
        group = self._inotify
        if not isinstance(event, PathedInotifyEvent):
            source, target = event
            if target.ev.is_directory:
                self.queue_event(DirMovedEvent(os.fsdecode(source.path), os.fsdecode(target.path)))
            else:
                super().build_and_queue_event(event, full_events=full_events)
            if isinstance(group, _Group):
                group.stays(source.ev.cookie)
        elif event.ev.is_moved_to and event.ev.is_directory:
            self.queue_event(DirMovedEvent("", os.fsdecode(event.path)))
        else:
            super().build_and_queue_event(event, full_events=full_events)
            if event.ev.is_moved_from and isinstance(group, _Group):
                group.left(event.ev.cookie)
