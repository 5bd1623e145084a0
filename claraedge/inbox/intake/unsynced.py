"""Collects what has to be durable before a commit says that it exists, and syncs it together.

An fsync waits for the journal of its file system, and those of several threads wait for the same
commit of it: a hundred at once take little longer than two.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.fs import files, syncing
from claraedge.fs.walking import placed
from claraedge.inbox.inspection.survey import Listed
from claraedge.inbox.model import Claimed

#: Most fsyncs that one call has queued at a time, so that a big tree leaves room for others.
_AHEAD = 32
_THREADS = ThreadPoolExecutor(8, "sync")
_OURS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: Flags for files of others: whoever dropped a tree may still replace what is in it.
_THEIRS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Unsynced:
    """The files and folders of one item that have to be synced."""

    def __init__(self, item: Claimed) -> None:
        """Notes the folders of the inbox that the item's entries are moved out of."""
        self._paths: dict[Path, int] = {}
        inside = {path.rpartition(b"/")[0] for path in item.paths}
        self._sources = {(item.folder, one) for one in (b"", *inside)}

    def add(self, *folders: Path) -> None:
        """Notes folders of ours, to make the names in them durable."""
        self._paths.update(dict.fromkeys(folders, _OURS))

    def add_tree(self, root: Path, listing: Iterable[Listed]) -> None:
        """Notes a file, or a folder with the listed files and folders and those between."""
        self._paths[root] = _THEIRS
        noted = {b""}
        for one in listing:
            path = one.path
            while path not in noted:
                noted.add(path)
                self._paths[root / os.fsdecode(path)] = _THEIRS
                path = path.rpartition(b"/")[0]

    def sync(self, flag: CancelFlag) -> None:
        """Makes everything durable and forgets it: it may be moved or removed then. Blocking.

        Raises OSError where something cannot be synced.
        """
        for error in sync(flag, [self]):
            if error is not None:
                raise error
        self._paths.clear()
        self._sources.clear()


def sync(flag: CancelFlag, noted: Sequence[Unsynced]) -> list[OSError | None]:
    """Makes everything durable; what several items noted, only once. Blocking.

    Returns for each of `noted` why it is not durable, or None.
    """
    paths = {path: how for one in noted for path, how in one._paths.items()}
    failed = dict(_sync_all(flag, paths))
    # Then the folders of the inbox: what is gone there is durable in its new place by now. In this
    # thread, so that folders of a dead share block no other item.
    at_source = {
        source: _sync_source(*source)
        for source in dict.fromkeys(source for one in noted for source in one._sources)
    }
    return [
        next(
            (
                error
                for error in (
                    *(at_source[source] for source in one._sources),
                    *(failed[path] for path in one._paths if path in failed),
                )
                if error is not None
            ),
            None,
        )
        for one in noted
    ]


def make_folders(flag: CancelFlag, folders: Sequence[Path]) -> list[OSError | None]:
    """Creates folders and their parents, each durable in its own parent, all at once. Blocking.

    Returns for each of `folders` why it is not durable, or None. Existing ones are kept.
    """
    above: list[list[Path]] = []
    failed: dict[Path, OSError] = {}
    for folder in folders:
        try:
            above.append(files.new_folders(folder))
        except OSError as error:
            above.append([folder])
            failed[folder] = error
    paths = {path: _OURS for one in above for path in one if path not in failed}
    failed.update(_sync_all(flag, paths))
    return [next((failed[path] for path in one if path in failed), None) for one in above]


def _sync_source(folder: Path, inside: bytes) -> OSError | None:
    try:
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),  # it is gone as a whole
            placed(folder, inside + b"/." if inside else b".") as source,
        ):
            files.sync_folder(source)
    except OSError as error:
        return error
    return None


def _sync_all(flag: CancelFlag, paths: Mapping[Path, int]) -> Iterator[tuple[Path, OSError]]:
    """Syncs paths in several threads, and yields those that failed, with the error."""
    running: deque[tuple[Path, Future[OSError | None]]] = deque()
    try:
        for path, how in paths.items():
            flag.check()
            running.append((path, _THREADS.submit(_sync, path, how)))
            if len(running) >= _AHEAD:
                yield from _failed(*running.popleft())
        while running:
            yield from _failed(*running.popleft())
    finally:
        for _, one in running:
            one.cancel()


def _failed(path: Path, one: Future[OSError | None]) -> Iterator[tuple[Path, OSError]]:
    error = one.result()
    if error is not None:
        yield path, error


def _sync(path: Path, how: int) -> OSError | None:
    try:
        descriptor = os.open(path, how)
        try:
            syncing.sync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error
    return None
