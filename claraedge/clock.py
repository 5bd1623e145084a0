"""Time, as a parameter: the wall clock for records, BOOTTIME for durations."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol


class Clock(Protocol):
    """What the daemon asks of time. Tests pass their own."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC, for records. May jump."""
        ...

    def elapsed(self) -> float:
        """Seconds of CLOCK_BOOTTIME, for durations. Never jumps, counts suspend."""
        ...


class Moment(NamedTuple):
    """Both clocks at once."""

    now: float
    elapsed: float


def moment(clock: Clock) -> Moment:
    return Moment(clock.now(), clock.elapsed())


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """The kernel's id of this boot: rows carry it, so that a restart of the machine is noticed."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def rfc3339(seconds: float) -> str:
    """UTC with milliseconds and `Z`, the form of all JSON that claraedge writes."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
