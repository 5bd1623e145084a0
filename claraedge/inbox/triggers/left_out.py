"""Shows what lies in triggers' folders but is never claimed, as ignored items."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from claraedge.clock import Clock
from claraedge.inbox.model import Item, ItemState, shown
from claraedge.inbox.triggers.selection import LeftOut
from claraedge.inbox.triggers.triggers import Trigger

#: Most ignored items listed for one folder; of the rest only the number is shown.
_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _NotedLeftOut:
    found: LeftOut
    since: float
    """When it was first found, seconds of the clock's `elapsed`."""
    first_seen: float
    """The same time in Unix seconds."""


class LeftOuts:
    """What is left out of each folder, as its last listing found it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted: dict[Path, tuple[Trigger, Mapping[bytes, _NotedLeftOut], int]] = {}

    def note(self, trigger: Trigger, found: Iterable[LeftOut]) -> None:
        """Notes what the last listing of a folder found and left out."""
        before = self._noted.get(trigger.folder, (trigger, {}, 0))[1]
        now, wall = self._clock.elapsed(), self._clock.now()
        by_path = {one.path: one for one in found}
        self._noted[trigger.folder] = (
            trigger,
            {
                path: _NotedLeftOut(
                    found=by_path[path],
                    since=before[path].since if path in before else now,
                    first_seen=before[path].first_seen if path in before else wall,
                )
                for path in sorted(by_path)[:_MOST]
            },
            max(0, len(by_path) - _MOST),
        )

    def keep(self, folders: Iterable[Path]) -> None:
        """Forgets all folders but these."""
        kept = set(folders)
        self._noted = {folder: noted for folder, noted in self._noted.items() if folder in kept}

    def items(self) -> list[Item]:
        """Returns what has been there for at least twice the settle time of its trigger."""
        now = self._clock.elapsed()
        return [
            _item(trigger, one, more if number == len(noted) else 0)
            for trigger, noted, more in self._noted.values()
            for number, one in enumerate(noted.values(), 1)
            if now - one.since >= 2 * trigger.settle
        ]


def _item(trigger: Trigger, noted: _NotedLeftOut, more: int) -> Item:
    found, folder = noted.found, os.fsencode(trigger.folder)
    reason = f"'{shown(found.path)}' {found.reason}"
    if more:
        reason += f" ({more} more entries of this folder are left out and not listed)"
    return Item(
        # The same at each call, so that `describe` finds it, although no row contains it.
        id=hashlib.sha256(folder + b"\0" + found.path).hexdigest()[:32],
        folder=shown(folder),
        name=shown(found.path),
        raw_name=found.path,
        pipeline=trigger.rule.pipeline,
        state=ItemState.IGNORED,
        reason=reason,
        remedy=found.remedy,
        first_seen=noted.first_seen,
    )
