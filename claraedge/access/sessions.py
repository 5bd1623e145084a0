"""Browsers that are signed in: each has a cookie that was given for the token of this device.

A file next to that of the token has hashes of the cookies, so that a browser stays signed in when
the daemon is started again. It is written when somebody signs in or out, and not otherwise.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Iterable

from claraedge.access.token import Token
from claraedge.blocking import in_thread
from claraedge.fs import files

_log = logging.getLogger(__name__)

#: Browsers that are signed in at the same time; one more signs the first one out.
_MOST = 1000
#: Seconds after which a browser has to sign in again.
_LONGEST = 30 * 86400.0
#: The hash of a cookie, the digest of the token that it was given for, and when, in Unix time.
_LINE = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{64}) ([0-9]{1,12})")


class Sessions:
    """The cookies that are accepted."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._path = token.path.with_name("sessions")
        self._changing = asyncio.Lock()
        self._found = dict(self._read())
        """Hashes of cookies, with the digest of the token, and when they were given; in order."""

    async def begin(self) -> str:
        """Returns a new cookie for the present token."""
        value, digest = secrets.token_urlsafe(32), self._token.digest
        if digest is not None:
            self._found[_hash(value)] = digest.hex(), int(time.time())
            while len(self._found) > _MOST:
                del self._found[next(iter(self._found))]
            await self._write()
        return value

    async def end(self, values: Iterable[str]) -> None:
        """Accepts these cookies no longer."""
        if [value for value in values if self._found.pop(_hash(value), None) is not None]:
            await self._write()

    def has(self, values: Iterable[str]) -> bool:
        """Returns whether one of these cookies is accepted."""
        digest = self._token.digest
        return digest is not None and any(
            given is not None and given[0] == digest.hex() and _is_young(given[1])
            for given in map(self._found.get, map(_hash, values))
        )

    def _read(self) -> Iterable[tuple[str, tuple[str, int]]]:
        try:
            lines = self._path.read_bytes().decode("ascii", "replace").splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("browsers have to sign in again: %s", error)
            return
        for line in lines[-_MOST:]:
            found = _LINE.fullmatch(line)
            if found is not None:
                yield found[1], (found[2], int(found[3]))

    async def _write(self) -> None:
        async with self._changing:
            lines = [
                f"{hash_} {digest} {given}\n"
                for hash_, (digest, given) in self._found.items()
                if _is_young(given)
            ]
            try:
                await in_thread(files.replace, self._path, "".join(lines).encode(), 0o600)
            except OSError as error:
                _log.warning("browsers have to sign in again after the next start: %s", error)


def _is_young(given: int) -> bool:
    return abs(time.time() - given) < _LONGEST


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
