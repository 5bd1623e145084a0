"""Deadlines that a client states in a header."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from claraedge.web.http.failures import invalid, too_late
from claraedge.web.http.headers import Headers

_CONNECT = re.compile(r"[0-9]{1,10}")
_GRPC = re.compile(r"([0-9]{1,8})([HMSmun])")
#: Seconds from which a deadline is none: gRPC's clock cannot count the longest that it allows.
_LONGEST = 10 * 365 * 86400.0
#: Seconds after the deadline of a call at which its request ends in any case.
_LATER = 0.05
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def until(headers: Headers) -> float | None:
    """Returns when a request ends, by the clock of the event loop; None: no limit.

    Raises HttpError.
    """
    timeout = timeout_of(headers)
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


@asynccontextmanager
async def deadline(until: float | None) -> AsyncGenerator[None, None]:
    """Ends what waits for the client at a deadline. Raises HttpError.

    gRPC ends the call itself, somewhat earlier.
    """
    try:
        async with asyncio.timeout_at(None if until is None else until + _LATER) as bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise too_late() from None


def timeout_of(headers: Headers) -> float | None:
    """Returns the seconds that a client waits: the lesser of both headers; None: no limit.

    Raises HttpError.
    """
    found = []
    connect, grpc = headers.get("connect-timeout-ms"), headers.get("grpc-timeout")
    if connect is not None:
        if not _CONNECT.fullmatch(connect):
            raise invalid("Connect-Timeout-Ms has to be a number of at most 10 digits")
        found.append(int(connect) / 1000)
    if grpc is not None:
        matched = _GRPC.fullmatch(grpc)
        if matched is None:
            raise invalid(
                "Grpc-Timeout has to be a number of at most 8 digits and a unit: H, M, S, m, u or n"
            )
        found.append(int(matched[1]) * _UNITS[matched[2]])
    seconds = min(found, default=_LONGEST)
    return seconds if seconds < _LONGEST else None
