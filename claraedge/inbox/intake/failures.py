"""Where items go that never become a job: a folder each, with the reason and the original."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.clock import Clock
from claraedge.delivery import reports
from claraedge.delivery.publish import publish, published, write_json
from claraedge.delivery.roots import Root
from claraedge.fs.files import Failpoint
from claraedge.fs.landing import located
from claraedge.fs.removal import remove
from claraedge.fs.trees import move
from claraedge.fs.trusted import opened
from claraedge.fs.walking import holds_files
from claraedge.inbox.model import Claimed, name_of
from claraedge.spool.shown import opened_shown
from claraedge.spool.slug import folder_name, slug

_log = logging.getLogger(__name__)


class Failures:
    """The folder of failures, for items. What is done may be repeated after a crash."""

    def __init__(self, root: Root, clock: Clock, failpoint: Failpoint) -> None:
        self._root = root
        self._clock = clock
        self._failpoint = failpoint

    @property
    def unknown(self) -> Path:
        """Where items lie that no row knows."""
        return self._root.path / "unknown"

    def of(self, item: Claimed) -> Path | None:
        """Where the item lies if it failed already, whole. Raises OSError where nobody can tell."""
        self._root.refuse()
        target = published(
            self._root.path, _folder(item), item.id, marker="reason.json", key="item_id"
        )
        if target is not None and os.path.lexists(located(target / "original", item.name)):
            return target
        return None

    def put(self, flag: CancelFlag, item: Claimed, reason: str, path: Path) -> Path:
        """Moves what lies at `path` there; the folder."""

        def build(building: Path) -> None:
            now = self._clock.now()
            document = reports.item_failure(
                item.id, item.name, str(item.place), item.first_seen, reason, now
            )
            write_json(building / "reason.json", document)

        self._root.refuse()
        target = publish(
            self._root.path,
            _folder(item),
            item.id,
            marker="reason.json",
            key="item_id",
            build=build,
            failpoint=self._failpoint,
        )
        inside = os.fsencode(target.relative_to(self._root.path) / "original")
        with (
            opened(path.parent) as source,
            opened_shown(self._root.path, inside, self._root.mode) as place,
        ):
            move(
                source / path.name, place / name_of(item.name), flag=flag, failpoint=self._failpoint
            )
        self._failpoint("fail: moved")
        return target

    def put_unknown(self, flag: CancelFlag, folder: Path) -> bool:
        """For a folder of the spool that no row knows: an older database was put back.

        It is somebody's data. False: there was no file in it.
        """
        if not holds_files(folder):
            remove(folder)
            return False
        self._root.refuse()
        with opened(self._root.path, os.fsencode(self.unknown.name), make=0o755) as place:
            move(folder, place / folder.name, flag=flag)
        target = self.unknown
        _log.warning(
            "the state does not know %s in the spool; it lies in %s now", folder.name, target
        )
        return True


def _folder(item: Claimed) -> str:
    return f"{slug(item.pipeline)}/{folder_name(item.text, item.id)}"
