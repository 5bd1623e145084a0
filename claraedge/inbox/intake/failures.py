"""Puts items that never become a job into the folder of failures, with reason and original."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import CancelFlag
from claraedge.clock import Clock
from claraedge.delivery import reports
from claraedge.delivery.publish import publish, published, write_json
from claraedge.delivery.roots import Root
from claraedge.fs.landing import located
from claraedge.fs.trees import Building, move
from claraedge.fs.trusted import opened
from claraedge.fs.walking import holds_files
from claraedge.inbox.model import Claimed, name_of
from claraedge.spool.shown import opened_shown
from claraedge.spool.slug import folder_name, slug
from claraedge.spool.spool import Spool

_log = logging.getLogger(__name__)


class Failures:
    """Writes failures of items into `failed/`. Each call may be repeated after a crash."""

    def __init__(self, root: Root, clock: Clock) -> None:
        self._root = root
        self._clock = clock

    @property
    def unknown(self) -> Path:
        """The folder for items of the spool that the database does not know."""
        return self._root.path / "unknown"

    def of(self, item: Claimed) -> Path | None:
        """Returns the folder of an item's complete failure, or None where it has not failed yet.

        Raises OSError where the folder of failures cannot be read.
        """
        self._root.refuse()
        target = published(
            self._root.path, _folder(item), item.id, marker="reason.json", key="item_id"
        )
        if target is not None and os.path.lexists(located(target / "original", item.name)):
            return target
        return None

    def put(self, flag: CancelFlag, item: Claimed, reason: str, path: Path) -> Path:
        """Writes the failure of an item, moves what lies at `path` into it, and returns its folder.

        Raises OSError where the folder of failures is not available.
        """

        def build(building: Building) -> None:
            now = self._clock.now()
            document = reports.item_failure(
                item.id, item.name, str(item.place), item.first_seen, reason, now
            )
            write_json(building, "reason.json", document)

        self._root.refuse()
        target = publish(
            self._root.path,
            _folder(item),
            item.id,
            marker="reason.json",
            key="item_id",
            build=build,
        ).path
        inside = os.fsencode(target.relative_to(self._root.path) / "original")
        with (
            opened(path.parent) as source,
            opened_shown(self._root.path, inside, self._root.mode) as place,
        ):
            move(source / path.name, place / name_of(item.name), flag=flag)
        failpoints.reach("fail: moved")
        return target

    def put_unknown(self, flag: CancelFlag, spool: Spool, item: str) -> bool:
        """Moves what the spool has of an item without a row to the unknown items.

        This happens after an older database was restored; it may be somebody's data. An entry that
        is hidden in its folder stays there: its mount point is kept with the unknown items. False:
        there was no file in it, and it was removed.
        """
        note = spool.mount_note(item)
        there = [path for path in (*spool.folders(item), note) if os.path.lexists(path)]
        found = [path for path in there if holds_files(path)]
        if found:
            self._root.refuse()
            with opened(self._root.path, os.fsencode(self.unknown.name), make=0o755) as place:
                for path in found:
                    move(path, place / path.name, flag=flag)
            _log.warning(
                "the state does not know %s in the spool; it lies in %s now", item, self.unknown
            )
            if note in found:
                _log.warning(
                    "the entry of %s may still be hidden in its folder of the inbox, as %s: rename"
                    " it there to have it taken again",
                    item,
                    spool.hidden(item, Path()),
                )
        spool.remove(item)
        return bool(found)


def _folder(item: Claimed) -> str:
    return f"{slug(item.pipeline)}/{folder_name(item.text, item.id)}"
