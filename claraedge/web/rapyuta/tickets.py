"""Signed paths of bags: who has one reads that bag without the token, until it expires.

The SDK fetches such a path by itself, and shows no token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from urllib.parse import quote

from claraedge.web.http.failures import HttpError, invalid
from claraedge.web.http.request import Request

#: Seconds for which a path can be used.
_LIFE = 600
_TICKET = re.compile(r"([0-9]{1,12})-([0-9a-f]{64})")


class Tickets:
    """Makes and checks the tickets of this start of the daemon."""

    def __init__(self, socket: str) -> None:
        """`socket`: the path of the Unix socket of the HTTP front."""
        self._socket = socket
        self._key = secrets.token_bytes(32)

    def url(self, bag: str, name: str, request: Request) -> str:
        """Returns the URL of a bag at the host of a request. Raises HttpError if it names none."""
        until = int(time.monotonic()) + _LIFE
        path = f"/rosbag-blobs/{bag}/content/{until}-{self._signature(bag, until)}/{quote(name)}"
        host = request.headers.get("host")
        if not request.caller and host in (None, "", "localhost"):
            return f"http+unix://{quote(self._socket, safe='')}{path}"
        if not host:
            raise invalid("the request has no Host, so that it gets no URL; use HTTP/1.1")
        return f"{request.scheme}://{host}{path}"

    def check(self, bag: str, ticket: str) -> None:
        """Raises HttpError unless a ticket is one of this bag that has not expired."""
        matched = _TICKET.fullmatch(ticket)
        until = int(matched[1]) if matched else 0
        shown = matched[2] if matched else ""
        if not hmac.compare_digest(shown, self._signature(bag, until)):
            raise _refused("is not one that this device has made since its start")
        if time.monotonic() >= until:
            raise _refused(f"is older than {_LIFE} s")

    def _signature(self, bag: str, until: int) -> str:
        return hmac.new(self._key, f"{bag} {until}".encode(), hashlib.sha256).hexdigest()


def _refused(what: str) -> HttpError:
    return invalid(
        f"the address of the bag {what}; ask for another one: /rosbag-blobs/ID/file", 403
    )
