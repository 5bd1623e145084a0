"""Records whether the machine lost power during work; then images are compared before their use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import StorageFullError
from claraedge.store.database import Database

_log = logging.getLogger(__name__)

_FACT = "image checks"
#: Seconds until a write that a full disk refused is tried again.
_RETRY = 60.0


class _Noted(msgspec.Struct):
    """The record that one daemon leaves to the next."""

    boot: str = ""
    orderly: bool = True
    """Whether the last daemon of that boot ended in an orderly way."""
    suspect: bool = False
    """Whether the machine went down before that boot while a daemon was running."""
    whole: list[str] = []
    """Images whose content was compared during that boot."""


class PowerCuts:
    """Records how each boot of the machine ended, as far as a daemon can know."""

    def __init__(self, database: Database, boot: str) -> None:
        """`boot`: the kernel's id of this boot."""
        self._database = database
        self._boot = boot
        self._noted = _Noted()
        self._changed = asyncio.Event()

    async def prepare(self) -> None:
        """Finds out how the machine went down. Call it before an image is used."""
        row = await self._database.read(lambda tx: tx.row("fact", key=_FACT))
        noted = _Noted() if row is None else decode_json(row["value"], _Noted)
        if noted.boot != self._boot:
            noted = _Noted(boot=self._boot, suspect=bool(noted.boot) and not noted.orderly)
            if noted.suspect:
                _log.warning("the machine went down in the middle of work: images are compared")
        noted.orderly = False
        self._noted = noted
        if not await self._keep():
            self._changed.set()

    async def run(self, check_all: Callable[[], Awaitable[None]]) -> None:
        """Checks all images, and records the results until cancelled, which counts as an orderly
        end.
        """
        try:
            await check_all()
            while True:
                await self._changed.wait()
                self._changed.clear()
                if not await self._keep():
                    await asyncio.sleep(_RETRY)
                    self._changed.set()
        finally:
            self._noted.orderly = True
            await self._keep()

    def is_suspect(self, image: str) -> bool:
        """Returns whether a power cut may have damaged an image that was not compared since."""
        return self._noted.suspect and image not in self._noted.whole

    def note_whole(self, image: str) -> None:
        """Notes that the content of an image was compared and is intact."""
        if self.is_suspect(image):
            self._noted.whole.append(image)
            self._changed.set()

    async def _keep(self) -> bool:
        """Writes the record. Returns False where the disk is full: images may then be compared once
        more than necessary, or once less.
        """
        text = msgspec.json.encode(self._noted).decode()
        try:
            await self._database.write(lambda tx: tx.run("put_fact", key=_FACT, value=text))
        except StorageFullError as error:
            _log.warning("how images are is not noted now", extra={"reason": str(error)})
            return False
        return True
