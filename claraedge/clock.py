"""Time as a parameter: the wall clock for records, CLOCK_BOOTTIME for durations."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol


class Clock(Protocol):
    """The clocks that the daemon reads. Tests pass their own implementation."""

    def now(self) -> float:
        """Returns seconds since 1970-01-01 UTC, for records. The value may jump."""
        ...

    def elapsed(self) -> float:
        """Returns seconds of CLOCK_BOOTTIME, for durations. Never jumps; includes suspend."""
        ...


class Moment(NamedTuple):
    """A reading of both clocks at the same point in time."""

    now: float
    """Seconds since 1970-01-01 UTC."""
    elapsed: float
    """Seconds of CLOCK_BOOTTIME."""


def moment(clock: Clock) -> Moment:
    """Reads both clocks."""
    return Moment(clock.now(), clock.elapsed())


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Returns the kernel's id of this boot. Rows store it, so that a reboot is detected."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def rfc3339(seconds: float) -> str:
    """Formats Unix seconds as UTC with milliseconds and `Z`, as in all JSON of claraedge."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
