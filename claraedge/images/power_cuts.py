"""Whether the machine went down in the middle of work: then images are compared before use."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import StorageFullError
from claraedge.images.checks import Checks
from claraedge.store.database import Database

_log = logging.getLogger(__name__)

_FACT = "image checks"
#: Seconds; what a full disk did not take is noted so much later.
_RETRY = 60.0


class _Noted(msgspec.Struct):
    """What one daemon leaves to the next."""

    boot: str = ""
    orderly: bool = True
    """The last daemon of that boot has ended in an orderly way."""
    suspect: bool = False
    """The machine went down before that boot, and the daemon had not ended."""
    whole: list[str] = []
    """Images whose content was compared in that boot."""


class PowerCuts:
    """Notes how each boot of the machine ended, as far as a daemon can."""

    def __init__(self, checks: Checks, database: Database, boot: str) -> None:
        """`boot`: the kernel's id of this boot."""
        self._checks = checks
        self._database = database
        self._boot = boot
        self._noted = _Noted()
        self._changed = asyncio.Event()
        checks.suspects = self._is_suspect
        checks.on_whole = self._on_whole

    async def prepare(self) -> None:
        """Looks how the machine went down. To be called before an image is used."""
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

    async def run(self) -> None:
        """Looks at all images, and notes what was found, until cancelled: that end is orderly."""
        try:
            await self._checks.look()
            while True:
                await self._changed.wait()
                self._changed.clear()
                if not await self._keep():
                    await asyncio.sleep(_RETRY)
                    self._changed.set()
        finally:
            self._noted.orderly = True
            await self._keep()

    def _is_suspect(self, image: str) -> bool:
        return self._noted.suspect and image not in self._noted.whole

    def _on_whole(self, image: str) -> None:
        if self._is_suspect(image):
            self._noted.whole.append(image)
            self._changed.set()

    async def _keep(self) -> bool:
        """False: the disk is full. Images are then compared once more than need be, or less."""
        text = msgspec.json.encode(self._noted).decode()
        try:
            await self._database.write(lambda tx: tx.run("put_fact", key=_FACT, value=text))
        except StorageFullError as error:
            _log.warning("how images are is not noted now", extra={"reason": str(error)})
            return False
        return True
