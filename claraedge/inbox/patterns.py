"""Matches names against the regular expressions of triggers, for a bounded time.

A pattern such as `(a+)+b` takes years for some names, and whoever drops a file chooses its name.
While Python matches, nothing else of the process runs; but it looks for signals now and then.
"""

from __future__ import annotations

import functools
import re
import signal
import threading
from collections.abc import Mapping

#: Seconds of the process's own time.
LIMIT = 0.25

_SIGNAL = signal.SIGVTALRM


class SlowMatchError(Exception):
    """The match was given up."""


_armed = False


def _give_up(_: int, __: object) -> None:
    if _armed:  # else it came too late
        raise SlowMatchError


@functools.lru_cache(maxsize=4096)
def groups(pattern: str, text: str) -> Mapping[str, str] | SlowMatchError | None:
    """The named groups of a match of the whole text; None: it does not fit.

    Remembered, also that it took too long. Without a bound outside of the main thread.
    """
    compiled = re.compile(pattern)
    try:
        found = _bounded(compiled, text)
    except SlowMatchError as error:
        return error
    return None if found is None else {k: v or "" for k, v in found.groupdict().items()}


def _bounded(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    global _armed
    if threading.current_thread() is not threading.main_thread():
        return pattern.fullmatch(text)
    if signal.getsignal(_SIGNAL) is not _give_up:
        signal.signal(_SIGNAL, _give_up)
    _armed = True
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
    try:
        found = pattern.fullmatch(text)
        _armed = False
        return found
    finally:
        _armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
