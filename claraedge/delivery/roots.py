"""The root folders of results, failures and originals: whether they are available and mounted.

A folder whose disk is not mounted appears to be empty. So the mount point of each folder is
remembered, and deliveries wait while only an outer mount point is there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from pathlib import Path

from claraedge.blocking import Threads
from claraedge.config import Config
from claraedge.errors import ClaraedgeError
from claraedge.fs import files
from claraedge.fs.mounts import mount_of
from claraedge.fs.trusted import ForeignLinkError
from claraedge.store.database import Database

_log = logging.getLogger(__name__)

#: Seconds after which a folder that does not answer, such as one on a share, is considered dead.
ANSWER = 5.0


class Root:
    """One of the root folders. Blocking calls run in a thread of its own, which may hang."""

    def __init__(self, name: str, path: Path, *, watch: bool = True) -> None:
        """`name`: for messages; `watch`: whether to wait if its mount point is missing."""
        self.name = name
        self.path = path
        self._watch = watch
        self._point: bytes | None = None
        self.free = 0
        """Free bytes of its disk at the last check."""
        self._thread = Threads(1, f"check {name}")
        self._checking: asyncio.Future[str | None] | None = None

    async def check(self) -> str | None:
        """Returns why nothing can be written there now, as text; None: it can.

        Concurrent callers share one check, so that a folder that hangs blocks one thread only.
        """
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(self._thread.run(self.trouble))
        checking = self._checking
        done, _ = await asyncio.wait([checking], timeout=ANSWER)
        if not done:
            return (
                f"{self.path} ({self.name}) does not answer; check its disk, or the server of that"
                " share"
            )
        return checking.result()

    # --- in threads -----------------------------------------------------------------------------

    def trouble(self) -> str | None:
        """As `check`, but blocking; it may never return on a dead share."""
        try:
            return self._trouble()
        except OSError as error:
            return (
                f"{self.path} ({self.name}) cannot be read: {error.strerror}; check its disk and"
                " its permissions"
            )

    def _trouble(self) -> str | None:
        try:
            mount = mount_of(self.path)
        except ForeignLinkError as error:
            return f"{self.path} ({self.name}) is not used: {error.strerror}"
        except (FileNotFoundError, NotADirectoryError):
            unmounted = self._unmounted(self.path)
            return unmounted or f"{self.path} is gone; mount it again, or make it: {self._make}"
        if mount is not None and not self._lacks(mount.point):
            self._point = mount.point
            space = os.statvfs(self.path)
            self.free = space.f_bavail * space.f_frsize
            return None
        return self._unmounted(self.path)

    def make(self) -> None:
        """Creates the folder if it is missing, but never on the disk below its own mount point.

        Raises FileNotFoundError if its disk is not mounted, and other OSErrors.
        """
        above = self.path
        while not above.exists():
            above = above.parent
        if (trouble := self._unmounted(above)) is not None:
            raise FileNotFoundError(trouble)
        files.make_folders(self.path, 0o755)

    def refuse(self) -> None:
        """Raises FileNotFoundError if nothing can be written there now."""
        if (trouble := self.trouble()) is not None:
            raise FileNotFoundError(trouble)

    @property
    def mode(self) -> int:
        """Permission bits of the folder: those who may read it may read what is delivered there."""
        return stat.S_IMODE(self.path.stat().st_mode) & 0o777

    @property
    def _make(self) -> str:
        return f"mkdir -p '{self.path}'"

    def _unmounted(self, folder: Path) -> str | None:
        mount = mount_of(folder) if folder.is_dir() else None
        if mount is None or not self._lacks(mount.point):
            return None
        assert self._point is not None
        return (
            f"the disk of {self.path} ({self.name}) is not mounted; mount it again:"
            f" mount '{os.fsdecode(self._point)}'. If that disk is not used any"
            " more, set outbox.wait_for_mounts = false"
        )

    def _lacks(self, point: bytes) -> bool:
        """Returns whether a mount point is above the known one."""
        known = self._point
        if not self._watch or known is None or known == point:
            return False
        return known.startswith(point.rstrip(b"/") + b"/")

    # --- what is remembered ---------------------------------------------------------------------

    def recall(self, fact: str | None) -> None:
        """Restores the mount point from a stored `fact`; one of another path is ignored."""
        if fact is None:
            return
        known = json.loads(fact)
        if known["path"] == str(self.path):
            self._point = os.fsencode(known["mounted"])

    @property
    def fact(self) -> str | None:
        """The text to store; None: nothing is known yet."""
        if self._point is None:
            return None
        return json.dumps({"path": str(self.path), "mounted": os.fsdecode(self._point)})


class Roots:
    """The three root folders of a device."""

    def __init__(self, database: Database, config: Config) -> None:
        watch = config.outbox.wait_for_mounts
        self._database = database
        self.outbox = Root("the outbox", config.outbox_dir, watch=watch)
        self.failed = Root("the folder of failures", config.failed_dir, watch=watch)
        self.originals = Root("the folder of originals", config.originals_dir, watch=watch)
        self._known: dict[str, str | None] = {}

    @property
    def all(self) -> tuple[Root, Root, Root]:
        """The outbox, the folder of failures, and the folder of originals."""
        return self.outbox, self.failed, self.originals

    async def prepare(self) -> None:
        """Creates the folders at start. Deliveries to a folder that cannot be created wait.

        A dead share delays the start by `ANSWER` seconds per step at most.
        """
        for root in self.all:
            row = await self._database.read(lambda tx, root=root: tx.row("fact", key=_key(root)))  # type: ignore[misc]
            self._known[root.name] = None if row is None else row["value"]
            root.recall(self._known[root.name])
            try:
                async with asyncio.timeout(ANSWER):
                    await root._thread.run(root.make)
            except TimeoutError:
                _log.warning("%s (%s) does not answer; it is waited for", root.path, root.name)
            except OSError as error:
                reason = error.strerror or str(error)
                _log.warning("%s cannot be made: %s; results wait for it", root.path, reason)
            await self.check(root)

    async def check(self, root: Root) -> str | None:
        """As `Root.check`; also stores a new mount point."""
        trouble = await root.check()
        fact = root.fact
        if fact is not None and fact != self._known.get(root.name):
            try:
                await self._database.write(
                    lambda tx: tx.run("put_fact", key=_key(root), value=fact)
                )
            except ClaraedgeError as error:  # a full disk: retried at the next check
                _log.warning("%s is not remembered now: %s", root.name, error)
            else:
                self._known[root.name] = fact
        return trouble


def _key(root: Root) -> str:
    return f"mount point of {root.name}"
