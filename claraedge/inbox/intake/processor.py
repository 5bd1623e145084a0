"""Moves claimed items out of the inbox and fills their payloads, several in one thread."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from claraedge import bugs, failpoints
from claraedge.blocking import CancelFlag
from claraedge.formats.filenames import Names
from claraedge.inbox.inspection.survey import Surveyor
from claraedge.inbox.inspection.writers import Devices
from claraedge.inbox.intake.claim import Secured, secure, survey_moved
from claraedge.inbox.intake.results import ItemResult, Unsettled
from claraedge.inbox.intake.submit import Filled, fill_payload
from claraedge.inbox.intake.unsynced import Unsynced, make_folders, sync
from claraedge.inbox.model import Claimed
from claraedge.payloads.tree import PayloadTree
from claraedge.spool.spool import Spool
from claraedge.suspects import UNRECORDED, Suspects, Work

#: Seconds after which the remaining items of a call are left for another one.
_SLOW = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBegun:
    """The item was not processed, because those before it took too long: call again with it."""


#: How far an item got. `Filled`: only the rows of its job are missing.
Step: TypeAlias = Filled | NotBegun | ItemResult


@dataclass(slots=True, kw_only=True)
class _Whole:
    position: int
    path: Path
    filled: Filled
    unsynced: Unsynced


class Processor:
    """Does the remaining steps of items, also after a crash or a full disk interrupted them."""

    def __init__(
        self, spool: Spool, tree: PayloadTree, names: Names, suspects: Suspects = UNRECORDED
    ) -> None:
        self._spool = spool
        self._tree = tree
        self._suspects = suspects
        self._surveyor = Surveyor(uid=os.geteuid(), names=names)

    def process(
        self, flag: CancelFlag, items: Sequence[Claimed], known: Mapping[str, Filled] | None = None
    ) -> list[Step]:
        """Processes items, and returns the result for each. Blocking; `Filled` means durable.

        `known`: earlier results by id. Items that have not changed since are not read again.
        """
        began = time.monotonic()
        steps: list[Step] = []
        filled: list[_Whole] = []
        devices: Devices = {}
        # Durable first, or a power cut loses what is moved into them; all at once, since each
        # alone would wait for the disk.
        places = [self._spool.folder(item.id) for item in items]
        not_durable = make_folders(flag, places)
        for position, item in enumerate(items):
            if position and time.monotonic() - began > _SLOW:
                steps.append(NotBegun())
                continue
            if (failed := not_durable[position]) is not None:
                steps.append(failed)
                continue
            try:
                before = None if known is None else known.get(item.id)
                if before is not None and self._is_as_it_was(item):
                    steps.append(before)
                    continue
                with self._suspects.on(Work.INBOX, item.id):
                    done = self._fill(flag, item, position, devices)
            except Exception as error:  # noqa: BLE001 - it fails alone
                steps.append(bugs.known(error, "the claim of an item", item=item.id))
                continue
            if isinstance(done, _Whole):
                filled.append(done)
                steps.append(done.filled)
            else:
                steps.append(done)
        not_durable = sync(flag, [one.unsynced for one in filled])
        for one, failed in zip(filled, not_durable, strict=True):
            if failed is not None:
                steps[one.position] = failed
                continue
            try:
                steps[one.position] = self._recheck(items[one.position], one, devices)
            except Exception as error:  # noqa: BLE001 - it fails alone
                why = bugs.known(error, "the claim of an item", item=items[one.position].id)
                steps[one.position] = why
        return steps

    def _fill(
        self, flag: CancelFlag, item: Claimed, position: int, devices: Devices
    ) -> _Whole | ItemResult:
        unsynced = Unsynced(item)
        progress = secure(flag, item, self._spool, unsynced, self._surveyor, devices=devices)
        if not isinstance(progress, Secured):
            return progress
        filled = fill_payload(flag, item, progress, self._tree, unsynced, self._surveyor.names)
        failpoints.reach("submit: payload")
        return _Whole(position=position, path=progress.path, filled=filled, unsynced=unsynced)

    def _is_as_it_was(self, item: Claimed) -> bool:
        """Whether an item is unchanged since it was hashed; a copy of our own always is."""
        if os.path.lexists(self._spool.own(item.id, item.name)):
            return True
        raw = self._spool.raw(item.id, item.name)
        return (
            os.path.lexists(raw) and survey_moved(item, raw, self._surveyor).content == item.content
        )

    def _recheck(self, item: Claimed, one: _Whole, devices: Devices) -> Filled | Unsettled:
        """Checks that an item is unchanged since it was hashed; a copy of our own always is."""
        failpoints.reach("submit: durable")
        if one.path == self._spool.raw(item.id, item.name):
            found = survey_moved(item, one.path, self._surveyor, devices)
            if found.content != item.content or found.reading.written:
                return Unsettled(content=found.content)
        return one.filled
