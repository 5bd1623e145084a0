"""The token of this device, which callers over TCP show.

It is in a file of the state, readable by the daemon's group. The daemon checks at each call whether
the file has changed, so a new token applies at once, without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from pathlib import Path

from claraedge.errors import UnauthenticatedError
from claraedge.fs import files

_log = logging.getLogger(__name__)

#: Bits of a token that was made here.
_BYTES = 32
#: What is accepted as a token: an empty or a cut file must not let anybody in.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,128}")
#: Seconds between two lines of the log about calls that were refused.
_QUIET = 60.0
_MISSING = (
    "the call shows no token; send `Authorization: Bearer TOKEN`. `claraedge token`, on the device,"
    " prints it"
)
_WRONG = (
    "the token of the call is not that of this device, or is an old one; `claraedge token`, on the"
    " device, prints the current one"
)


def path_in(state: Path) -> Path:
    """Returns the file of the token in a state folder."""
    return state / "token"


def read(path: Path) -> str | None:
    """Returns the token; None if there is no such file, or no token in it.

    Raises OSError if it cannot be read.
    """
    try:
        text = path.read_bytes().decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return text if _TOKEN.fullmatch(text) else None


def renew(path: Path) -> str:
    """Returns a new token, which replaces the old one durably. Raises OSError."""
    token = secrets.token_urlsafe(_BYTES)
    files.replace(path, f"{token}\n".encode(), 0o640)
    return token


class Token:
    """The token as its file has it at the moment."""

    def __init__(self, path: Path) -> None:
        """Makes the file if there is none, or no token in it.

        If that fails, nobody has the right token until `claraedge token` has made it.
        """
        self.path = path
        try:
            if read(path) is None:
                renew(path)
                _log.info("a token was made; `claraedge token` prints it")
        except OSError as error:
            _log.error(
                "the token cannot be read or made (%s): calls over TCP are refused; correct that,"
                " and run `claraedge token`",
                error,
            )
        self._stamp: tuple[int, ...] = ()
        self._digest: bytes | None = None
        self._last_logged = -_QUIET
        self._refused = 0

    @property
    def digest(self) -> bytes | None:
        """Changes with the token; None if there is none."""
        try:
            found = self.path.stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if stamp != self._stamp:
                token = read(self.path)
                self._digest = None if token is None else _digest(token)
                self._stamp = stamp
        except OSError:
            self._stamp, self._digest = (), None
        return self._digest

    def check(self, shown: str | None, caller: str) -> None:
        """Raises UnauthenticatedError if `shown`, the token of a call, is not the right one.

        `shown` None: the call has none. `caller`: its address, for the log.
        """
        right = self.digest
        if shown is not None and right is not None and hmac.compare_digest(_digest(shown), right):
            return
        self._note(caller)
        raise UnauthenticatedError(_MISSING if shown is None else _WRONG)

    def _note(self, caller: str) -> None:
        self._refused += 1
        now = time.monotonic()
        if now >= self._last_logged + _QUIET:
            _log.warning(
                "calls without the right token were refused",
                extra={"count": self._refused, "last_caller": caller},
            )
            self._last_logged, self._refused = now, 0


def bearer(value: str | None) -> str | None:
    """Returns the token in the value of `Authorization`; None if there is none."""
    kind, _, token = (value or "").strip().partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
