"""Removes results, failures and originals whose configured time is over, and discarded failures.

It follows the rows, one folder after the other, and ignores folders without a row. A folder is
first renamed to a hidden name, so that no one sees it partly removed; a crash at any step leaves
the row, by which the next run finds the remains. The time of a folder counts from when a trusted
clock first saw it; a failure that somebody discarded goes whatever the clock says.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import CancelFlag, in_folder_thread, to_its_end
from claraedge.bugs import known, words
from claraedge.clock import Clock
from claraedge.config import OutboxSettings
from claraedge.delivery import kept
from claraedge.delivery.kept import Kept, KeptKind
from claraedge.delivery.publish import is_owners
from claraedge.delivery.roots import Root, Roots
from claraedge.errors import ItemNotRemovedError, RemovalPendingError
from claraedge.fs import files
from claraedge.fs.removal import remove, remove_link
from claraedge.fs.trusted import opened
from claraedge.jobs.retention.trust import ClockTrust
from claraedge.store.database import Database, Transaction
from claraedge.waiting.periodic import every

_log = logging.getLogger(__name__)

#: Seconds between two removals of what is due.
_INTERVAL = 60.0
#: Folders removed per recorded step, and rows dated at once.
_STEP, _DATED = 20, 1000
#: Seconds until a failed removal is retried.
_AGAIN = 3600.0
#: Seconds that the removal of a discarded failure is waited for.
_PATIENCE = 10.0


class _End(enum.Enum):
    REMOVED = "removed"
    GONE = "gone"
    """Somebody else removed it."""
    FOREIGN = "foreign"
    """Another folder has its place now; it is not removed."""
    UNAVAILABLE = "unavailable"
    """Unknown: the disk that it is on is not available."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    root: Root
    days: float | None
    """Days that a folder is kept; None: it never expires."""


class Expiry:
    """Removes expired folders periodically while `run` runs."""

    def __init__(
        self,
        database: Database,
        roots: Roots,
        config: OutboxSettings,
        clock: Clock,
        trust: ClockTrust,
    ) -> None:
        self._database = database
        self._roots = roots
        self._clock = clock
        self._trust = trust
        self._rules: Mapping[KeptKind, _Rule] = {
            KeptKind.RESULT: _Rule(root=roots.outbox, days=config.keep_days),
            KeptKind.FAILURE: _Rule(root=roots.failed, days=config.failed_keep_days),
            KeptKind.ORIGINAL: _Rule(root=roots.originals, days=config.originals_keep_days),
        }
        self._removing = asyncio.Lock()
        self._later: dict[int, float] = {}
        self._troubles: dict[int, str] = {}

    def warnings(self) -> Sequence[str]:
        """Returns the failed removals, for `claraedge status`."""
        if not self._troubles:
            return []
        first = next(iter(self._troubles.values()))
        more = f" (and {len(self._troubles) - 1} more)" if len(self._troubles) > 1 else ""
        return [f"a folder that is older than its keep_days cannot be removed: {first}{more}"]

    async def run(self) -> None:
        """Removes until cancelled. Retries after a full disk or a dead share."""
        await every(
            _INTERVAL,
            self.remove_due,
            "the removal of results that are old",
            lambda why: _log.warning(
                "folders that are older than their keep_days cannot be removed now: %s", why
            ),
        )

    async def remove_due(self) -> None:
        """Removes once what is due; where the clock is not trusted, only discarded failures."""
        elapsed = self._clock.elapsed()
        self._later = {one: due for one, due in self._later.items() if due > elapsed}
        self._troubles = {one: text for one, text in self._troubles.items() if one in self._later}
        failures = self._rules[KeptKind.FAILURE]
        if await self._database.read(lambda tx: kept.discarded(tx, 1)):
            await self._remove_all(failures, kept.discarded)
        if not (await self._trust.check()).steady:
            return
        now = self._clock.now()
        while await self._database.write(lambda tx: kept.date(tx, now, _DATED)) == _DATED:
            pass
        for kind, rule in self._rules.items():

            def expired(
                tx: Transaction, limit: int, kind: KeptKind = kind, rule: _Rule = rule
            ) -> Sequence[Kept]:
                return kept.expired(tx, kind, rule.days, now, limit)

            await self._remove_all(rule, expired)

    async def discard(self, path: Path) -> None:
        """Records that a failure is to be removed now, before `remove_discarded` does so.

        Raises ItemNotRemovedError if its disk is not available, or the failure is not kept.
        """
        root = self._rules[KeptKind.FAILURE].root
        if path.is_relative_to(root.path) and (trouble := await self._roots.check(root)):
            raise ItemNotRemovedError(f"{path} cannot be removed now: {trouble}; then try again")
        if not await self._database.write(lambda tx: kept.discard(tx, path)):
            raise ItemNotRemovedError(
                f"the state does not know the failure {path} any more; remove that folder yourself"
            )
        failpoints.reach("discard: recorded")

    async def remove_discarded(self, path: Path) -> None:
        """Removes a failure that was discarded. It continues where the caller is cancelled.

        Raises RemovalPendingError if that is slow, and ItemNotRemovedError if the failure stays.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                await to_its_end(self._remove_discarded(path))
        except TimeoutError:
            raise RemovalPendingError(
                f"the removal of {path} is not finished, since its disk is slow or busy; it"
                " continues by itself, also after a restart"
            ) from None

    async def _remove_discarded(self, path: Path) -> None:
        root = self._rules[KeptKind.FAILURE].root
        async with self._removing:
            one = await self._database.read(lambda tx: kept.failure(tx, path))
            if one is None:  # another call removed it
                return
            if not one.discarded:
                raise ItemNotRemovedError(
                    f"{path} stays, since another call could not remove it; try again"
                )
            ((_, end),) = await in_folder_thread(self._remove, root, [one])
            if end in (_End.REMOVED, _End.GONE):
                await self._finish([one])
                _log.info("removed %s, as somebody asked", path)
                return
            why = self._troubles.pop(one.sequence, f"{path}: it is not there; check its disk")
            if end is _End.FOREIGN:
                why = (
                    f"{path}: it is not what was put there any more; check it, and remove that"
                    " folder yourself"
                )
            elif await in_folder_thread(_is_hidden, one):
                self._troubles[one.sequence] = why
                self._later[one.sequence] = self._clock.elapsed() + _AGAIN
                raise RemovalPendingError(
                    f"a part of it is left: {why}; remove that cause: the rest goes by itself,"
                    " within an hour"
                )
            await self._database.write(lambda tx: kept.discard(tx, path, wanted=False))
            raise ItemNotRemovedError(f"nothing was removed: {why}; then try again")

    async def _remove_all(
        self, rule: _Rule, find: Callable[[Transaction, int], Sequence[Kept]]
    ) -> None:
        if await self._roots.check(rule.root) is not None:
            return
        count = 0
        while True:
            limit = _STEP + len(self._later)
            found = await self._database.read(lambda tx, limit=limit: find(tx, limit))  # type: ignore[misc]
            due = [one for one in found if one.sequence not in self._later][:_STEP]
            if not due:
                break
            async with self._removing:
                ends = await in_folder_thread(self._remove, rule.root, due)
                gone = [one for one, end in ends if end is not _End.UNAVAILABLE]
                await self._finish(gone)
            count += sum(end is _End.REMOVED for _, end in ends)
            for one in set(due) - set(gone):
                self._later[one.sequence] = self._clock.elapsed() + _AGAIN
        if count:
            _log.info("removed %d of %s: kept for long enough", count, rule.root.name)

    async def _finish(self, gone: Sequence[Kept]) -> None:
        await self._database.write(lambda tx: self._record(tx, gone))
        late = await self._database.read(
            lambda tx: [link for one in gone for link in kept.links(tx, one.owner, str(one.path))]
        )
        if late:  # made after the scan, before the removal was recorded
            await in_folder_thread(_unlink_dead, late)
        failpoints.reach("expire: recorded")

    def _record(self, tx: Transaction, gone: Sequence[Kept]) -> None:
        now = self._clock.now()
        for one in gone:
            kept.removed(tx, one, now)

    # --- in threads -----------------------------------------------------------------------------

    def _remove(
        self, flag: CancelFlag, root: Root, due: Sequence[Kept]
    ) -> Sequence[tuple[Kept, _End]]:
        ends = []
        for one in due:
            flag.check()
            try:
                end = self._remove_one(root, one)
            except Exception as error:  # noqa: BLE001 - it fails alone
                end = _End.UNAVAILABLE
                why = words(
                    known(error, "the removal of a folder that is old", folder=str(one.path))
                )
                self._troubles[one.sequence] = f"{one.path}: {why}"
                _log.warning("%s cannot be removed: %s", one.path, why)
            if end is _End.FOREIGN:
                _log.warning("%s stays: it is not what was put there any more", one.path)
            ends.append((one, end))
        return ends

    def _remove_one(self, root: Root, one: Kept) -> _End:
        failpoints.reach("expire: begun")
        try:
            # Opened, so that it stays the same folder: a user who may write to a folder above could
            # otherwise redirect the removal.
            with opened(one.path.parent) as above:
                return self._remove_in(root, one, above)
        except FileNotFoundError:
            return _End.GONE if self._is_there(root, one.path) else _End.UNAVAILABLE

    def _remove_in(self, root: Root, one: Kept, above: Path) -> _End:
        path, hidden = above / one.path.name, above / _hidden(one)
        if os.path.lexists(hidden):  # a crash interrupted the removal
            remove(hidden)
            files.sync_folder(above)
            if not os.path.lexists(path):
                return _End.REMOVED
        if not os.path.lexists(path):
            return _End.GONE if self._is_there(root, one.path) else _End.UNAVAILABLE
        if not _is_what_was_put(one, above):
            return _End.FOREIGN
        for link in one.links:
            remove_link(link)
        path.rename(hidden)
        files.sync_folder(above)
        failpoints.reach("expire: hidden")
        remove(hidden)
        files.sync_folder(above)
        failpoints.reach("expire: removed")
        return _End.REMOVED

    def _is_there(self, root: Root, path: Path) -> bool:
        """Returns whether the root folder is there, so that something missing in it was removed.

        The root may be unmounted. For a folder that was configured earlier, this is not known:
        False.
        """
        return path.is_relative_to(root.path) and root.trouble() is None


def _hidden(one: Kept) -> str:
    """Returns the name that a folder gets at the begin of its removal."""
    return f".removed-{one.owner}"


def _is_hidden(_: CancelFlag, one: Kept) -> bool:
    return os.path.lexists(one.path.with_name(_hidden(one)))


def _unlink_dead(flag: CancelFlag, links: Sequence[Path]) -> None:
    for link in links:
        flag.check()
        remove_link(link, dead=True)


def _is_what_was_put(one: Kept, above: Path) -> bool:
    """Returns whether the folder is still the delivered one; `above`: its parent, opened."""
    try:
        with opened(above, os.fsencode(one.path.name)) as path:
            match one.kind:
                case KeptKind.RESULT:
                    return is_owners(path / "result.json", "job_id", one.owner)
                case KeptKind.FAILURE:
                    reason = path / "reason.json"
                    return any(is_owners(reason, key, one.owner) for key in ("job_id", "item_id"))
                case KeptKind.ORIGINAL:
                    return True
    except NotADirectoryError:
        return False
