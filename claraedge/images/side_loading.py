"""Loads image archives from the folder `images.d`, each once, without changing or removing any.

An archive whose image is found damaged is loaded again.

An archive is loaded once two scans, one pause apart, found it unchanged. The newest of several is
loaded last, so that a name in two of them ends up on the newer image.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from claraedge.blocking import in_thread
from claraedge.bugs import Known
from claraedge.decoding import decode_json
from claraedge.errors import (
    ClaraedgeError,
    DamagedImageError,
    ImageNotFoundError,
    InvalidImageError,
    RefusedImageError,
    SetAsideError,
    StorageFullError,
)
from claraedge.formats.filenames import shown
from claraedge.fs import files
from claraedge.fs.listing import EntryStatus, entries
from claraedge.images.images import Images
from claraedge.store.database import Database
from claraedge.suspects import UNRECORDED, Suspects, Work
from claraedge.waiting.periodic import every

_log = logging.getLogger(__name__)

_FACT = "side-loaded"

#: Content of an archive, as in `EntryStatus.content` -> the ids of its images.
_Loaded: TypeAlias = dict[str, tuple[str, ...]]


class SideLoading:
    """Scans one folder while `run` runs."""

    def __init__(
        self,
        images: Images,
        database: Database,
        folder: Path,
        *,
        pause: float,
        blocked_by: Callable[[], str | None],
        suspects: Suspects = UNRECORDED,
    ) -> None:
        """`pause`: seconds between two scans. `blocked_by`: returns why nothing may be loaded
        now, or None.
        """
        self._images = images
        self._blocked_by = blocked_by
        self._suspects = suspects
        self._database = database
        self._folder = folder
        self._pause = pause
        self._last: Mapping[bytes, EntryStatus] = {}
        self._loaded: _Loaded | None = None
        """None: not yet read and compared with the images that exist."""
        self._wrong: dict[bytes, tuple[EntryStatus, str]] = {}
        self._trouble = ""
        """Why nothing is loaded now; empty where nothing blocks it."""

    def warnings(self) -> Sequence[str]:
        """Returns problems that need a correction, for `claraedge status`."""
        found = [f"{self._folder}: {self._trouble}"] if self._trouble else []
        return [*found, *(text for _, text in self._wrong.values())]

    async def run(self) -> None:
        """Scans until cancelled. What fails now is tried again."""
        await every(self._pause, self.scan, "the scan of the folder of image archives", self._met)

    async def scan(self) -> None:
        """Scans once: loads what is new and has settled.

        Raises RunnerUnavailableError or StorageFullError where that has to wait, and OSError where
        the folder cannot be read.
        """
        found = await in_thread(_scan, self._folder)
        settled = {name: seen for name, seen in found.items() if self._last.get(name) == seen}
        self._last = found
        loaded = await self._recall()
        self._wrong = {
            name: (seen, text)
            for name, (seen, text) in self._wrong.items()
            if found.get(name) == seen
        }
        gone = loaded.keys() - {seen.content for seen in found.values()}
        gone |= {content for content, ids in loaded.items() if self._are_damaged(ids)}
        for content in gone:
            del loaded[content]
        if gone:
            await self._remember()
        for name, seen in sorted(settled.items(), key=lambda item: (item[1].modified, item[0])):
            if seen.content not in loaded and name not in self._wrong:
                reason = self._blocked_by()
                if reason is not None:
                    raise StorageFullError(f"{shown(name)} is not loaded yet: {reason}")
                with contextlib.suppress(SetAsideError):  # `claraedge status` shows it
                    await self._load(name, seen, loaded)
        self._trouble = ""

    async def _load(self, name: bytes, seen: EntryStatus, loaded: _Loaded) -> None:
        archive = self._folder / os.fsdecode(name)
        try:
            if not stat.S_ISREG(seen.mode):
                raise InvalidImageError("it is no file; put only image archives there")
            async with self._suspects.during(Work.IMAGE, shown(name)):
                images, warnings = await self._images.load(archive)
        except (InvalidImageError, DamagedImageError, RefusedImageError) as error:
            if await self._is_still(name, seen):
                self._refuse(name, seen, error)
            return
        if await self._is_still(name, seen):
            loaded[seen.content] = tuple(image.id for image in images)
            await self._remember()
            for warning in warnings:
                extra = {"archive": shown(name), "reason": warning}
                _log.warning("archive loaded with a warning", extra=extra)

    def _refuse(self, name: bytes, seen: EntryStatus, error: ClaraedgeError) -> None:
        reasons = "; ".join(" ".join(message.split()) for message in error.messages)
        reasons = reasons.removeprefix("the archive is not loaded: ")
        text = f"{self._folder}/{shown(name)} is not loaded: {reasons}; replace it, or remove it"
        _log.warning("archive not loaded", extra={"archive": shown(name), "reason": text})
        self._wrong[name] = (seen, text)

    async def _is_still(self, name: bytes, seen: EntryStatus) -> bool:
        """Whether the loaded file is still the one that had settled; otherwise it is
        scanned again.
        """
        return (await in_thread(_scan, self._folder)).get(name) == seen

    def _met(self, error: Known) -> None:
        trouble = str(error)
        if isinstance(error, OSError):
            trouble = (
                f"cannot be read ({error.strerror or error}); correct that, or set [images] path"
                " to another"
            )
        if trouble != self._trouble:
            _log.warning("archives wait", extra={"reason": trouble})
        self._trouble = trouble

    # --- what was loaded before ----------------------------------------------------------------

    async def _recall(self) -> _Loaded:
        """Returns what was loaded; at start, entries with an image that no longer exists are
        dropped.
        """
        if self._loaded is None:
            row = await self._database.read(lambda tx: tx.row("fact", key=_FACT))
            loaded = decode_json(row["value"], _Loaded) if row is not None else {}
            self._loaded = {
                content: images
                for content, images in loaded.items()
                if await self._are_here(images)
            }
        return self._loaded

    def _are_damaged(self, images: Sequence[str]) -> bool:
        return any(image in self._images.checks.damaged for image in images)

    async def _are_here(self, images: Sequence[str]) -> bool:
        try:
            for image in images:
                await self._images.find(image)
        except (ImageNotFoundError, DamagedImageError, RefusedImageError):
            return False
        return True

    async def _remember(self) -> None:
        text = msgspec.json.encode(self._loaded).decode()
        await self._database.write(lambda tx: tx.run("put_fact", key=_FACT, value=text))


def _scan(folder: Path) -> Mapping[bytes, EntryStatus]:
    """Returns the folder's entries by name; creates the folder if missing. Blocks."""
    if not folder.exists():
        files.make_folders(folder)
    return entries(folder)
