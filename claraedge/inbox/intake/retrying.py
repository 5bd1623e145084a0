"""Puts the original of a failed item back into the inbox, where it is a new item."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import CancelFlag, CancelledWorkError, in_folder_thread
from claraedge.clock import Clock
from claraedge.delivery import kept
from claraedge.errors import ItemRetryError
from claraedge.fs import files
from claraedge.fs.landing import located
from claraedge.fs.removal import remove
from claraedge.fs.trees import copy_tree
from claraedge.fs.trusted import opened
from claraedge.fs.walking import placed, walk
from claraedge.inbox import records
from claraedge.inbox.model import Claimed, Item, shown
from claraedge.spool.spool import HIDDEN
from claraedge.store.database import Database, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    inside: bytes
    """Where it lies now, below the folder `original` of the failure."""
    folder: Path
    """The trigger's folder."""
    path: bytes
    """Where it came from, below the trigger's folder."""
    source: Path = Path()
    target: Path = Path()
    """Both lie in folders that are kept open, since others may swap what lies there. See `_placed`.
    """
    hidden: str
    """The name of intermediate files, next to the source and next to the target."""

    @property
    def building(self) -> Path:
        """The place of the copy until it gets its name in the inbox."""
        return self.target.with_name(self.hidden)

    @property
    def aside(self) -> Path:
        """The place of the source once its copy is complete.

        If it exists and `building` does not, the copy has got its name in the inbox.
        """
        return self.source.with_name(self.hidden)


class Retries:
    """Puts one item back at a time: of two calls for one item, the second finds nothing."""

    def __init__(self, database: Database, clock: Clock, turn: asyncio.Lock) -> None:
        """`turn`: the lock that removals of items have as well."""
        self._database = database
        self._clock = clock
        self._turn = turn

    async def put_back(self, found: Item, has_trigger: Callable[[Path], bool]) -> None:
        """Puts a failed item back into the inbox, and records that. Raises ItemRetryError.

        `has_trigger`: whether a folder belongs to a trigger.
        """
        async with self._turn:
            claim, found, discarded = await self._database.read(lambda tx: _present(tx, found))
            if claim is None or found.result_path is None:
                raise ItemRetryError(f"{found.name} ({found.id}) is not kept; drop it again")
            if found.removed is not None:
                day = time.strftime("%Y-%m-%d", time.localtime(found.removed))
                raise ItemRetryError(
                    f"the original of {found.name} ({found.id}) was removed on {day} with its"
                    " failure, by somebody or after outbox.failed_keep_days; drop it into the inbox"
                    " again"
                )
            if discarded:
                raise ItemRetryError(
                    f"{found.name} ({found.id}) is being removed, as somebody asked; drop it into"
                    " the inbox again"
                )
            if not has_trigger(claim.folder):
                raise ItemRetryError(
                    f"{found.name} ({found.id}) cannot be put back: no trigger reads files from"
                    f" {found.folder} any more; configure one again, or drop"
                    f" {found.result_path}/original/{found.name} into another folder of the inbox"
                )
            await in_folder_thread(put_back, claim, Path(found.result_path))
            now = self._clock.now()
            failpoints.reach("retry: before commit")
            item, before = found.id, found.reason
            await self._database.write(lambda tx: records.put_back(tx, item, before, now))
            failpoints.reach("retry: committed")


def _present(tx: Transaction, found: Item) -> tuple[Claimed | None, Item, bool]:
    """Returns an item as it was claimed and as it is now; and whether its failure is discarded."""
    now = records.item(tx, found.id) or found
    failure = None if now.result_path is None else kept.failure(tx, Path(now.result_path))
    return records.get(tx, found.id), now, failure is not None and failure.discarded


def put_back(flag: CancelFlag, item: Claimed, failure: Path) -> None:
    """Moves what lies in `failure/original` to where the item came from. Blocking; repeatable.

    Raises ItemRetryError where the original is not there any more, or its old place is occupied;
    nothing is moved then, except where a place became occupied during the call.
    """
    with contextlib.ExitStack() as stack:
        try:
            original = stack.enter_context(opened(failure / "original"))
        except FileNotFoundError as error:
            raise _not_there(item, failure) from error
        except NotADirectoryError as error:
            raise _swapped(item, failure, error) from error
        moves = _moves(item, original)
        left = [one for one in moves if _is_there(original, one)]
        if not left:
            raise _not_there(item, failure)
        for one in left:
            with contextlib.suppress(FileNotFoundError), _placed(item, one, original) as at:
                shown_before = os.path.lexists(at.aside) and not os.path.lexists(at.building)
                if os.path.lexists(at.target) and not shown_before:
                    raise _occupied(item, one)
        for one in left:
            flag.check()
            with _placed(item, one, original, make=0o775) as at:
                try:
                    _move(flag, at)
                except FileExistsError as error:  # it was created meanwhile, and may differ
                    raise _occupied(item, one) from error
            failpoints.reach("retry: moved one")


def _is_there(original: Path, one: _Move) -> bool:
    try:
        with placed(original, one.inside) as source:
            return os.path.lexists(source) or os.path.lexists(source.with_name(one.hidden))
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextlib.contextmanager
def _placed(
    item: Claimed, one: _Move, original: Path, *, make: int | None = None
) -> Iterator[_Move]:
    """Yields the move with a source and target in open folders, safe against swapped folders.

    Raises ItemRetryError where one of the folders was replaced.
    """
    above, _, name = one.path.rpartition(b"/")
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(opened(one.folder, above, make=make))
            source = stack.enter_context(placed(original, one.inside))
        except NotADirectoryError as error:
            raise _swapped(item, one.folder, error) from error
        yield replace(one, source=source, target=folder / os.fsdecode(name))


def _swapped(item: Claimed, folder: Path, error: NotADirectoryError) -> ItemRetryError:
    return ItemRetryError(
        f"{shown(item.name)} ({item.id}) cannot be put back: in {shown(os.fsencode(folder))}"
        f" {error.strerror} ({error.filename}); then retry {item.id} again"
    )


def _not_there(item: Claimed, failure: Path) -> ItemRetryError:
    return ItemRetryError(
        f"the original of {shown(item.name)} ({item.id}) is not in {failure}/original any more;"
        " if no retry has put it back (`claraedge list inbox` shows that), drop it into the"
        " inbox again"
    )


def _occupied(item: Claimed, one: _Move) -> ItemRetryError:
    return ItemRetryError(
        f"{shown(os.fsencode(one.folder) + b'/' + one.path)} is there already; remove it, or"
        f" rename it, and retry {item.id} again"
    )


def _move(flag: CancelFlag, one: _Move) -> None:
    """Moves one entry. Raises FileExistsError; the original stays where it is then."""
    if os.path.lexists(one.aside):  # a crash interrupted an earlier call
        _show(one)
        return
    if not any(entry.is_file and entry.status.st_nlink > 1 for entry in walk(one.source)):
        try:
            files.rename_new(one.source, one.target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            files.sync_folder(one.target.parent)
            files.sync_folder(one.source.parent)
            return
    _copy(flag, one)


def _copy(flag: CancelFlag, one: _Move) -> None:
    """Copies instead of moving: to another file system, or where the payload links the same files.

    The source is set aside before its copy gets its name in the inbox, where it may become a job at
    once. So after a crash there is never both a failure to retry and its entry in the inbox.
    """
    remove(one.building)  # left by a crash
    failpoints.reach("retry: copying")
    try:
        copy_tree(one.source, one.building, flag=flag)
    except (OSError, CancelledWorkError):
        remove(one.building)
        raise
    failpoints.reach("retry: copied")
    one.source.rename(one.aside)
    files.sync_folder(one.aside.parent)
    failpoints.reach("retry: set aside")
    _show(one)


def _show(one: _Move) -> None:
    if os.path.lexists(one.building):
        try:
            files.rename_new(one.building, one.target)
        except OSError:
            one.aside.rename(one.source)
            remove(one.building)
            raise
        files.sync_folder(one.target.parent)
    failpoints.reach("retry: shown")
    remove(one.aside)
    files.sync_folder(one.aside.parent)


def _moves(item: Claimed, original: Path) -> Sequence[_Move]:
    """Returns a move for each entry of an item; a marker comes last, as it did at its drop."""
    hidden = f"{HIDDEN}retry-{item.id}"

    def inside(path: bytes) -> bytes:
        """Returns where a path lies, also where the file system needed another name for it."""
        return os.fsencode(located(original, path).relative_to(original))

    if not item.members:
        path = item.paths[0]
        return [_Move(inside=inside(item.name), folder=item.folder, path=path, hidden=hidden)]
    return [
        _Move(
            inside=inside(item.name + b"/" + path),
            folder=item.folder,
            path=path,
            hidden=f"{hidden}-{position}",
        )
        for position, path in enumerate(item.members)
    ]
