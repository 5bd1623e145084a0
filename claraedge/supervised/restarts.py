"""Rules that decide whether a container that has ended is started again, and when. Pure.

Source of the policies: Docker and Podman, `--restart` (always, on-failure, no).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from claraedge.runner.protocol import Exit

#: Number of restarts that a rule has to be given: the largest that a setting allows.
REMEMBERED = 100

#: Pause in seconds before the first restart, and the longest one; each is twice the one before.
_FIRST, _LONGEST = 1.0, 300.0
#: Seconds of a run after which the pauses begin again with the first.
_LONG_RUN = 600.0
#: Number of runs that end before the container was ever up, after which it is given up.
_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """One restart in the past."""

    at: float
    """BOOTTIME (seconds) at which the container was started again."""
    after: float
    """Seconds of the pause before it."""


@dataclass(frozen=True, slots=True)
class Again:
    """The decision to start it again."""

    after: float
    """Seconds to wait before."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The decision not to start it again, because it has ended as wanted."""

    text: str
    """How it ended, for people."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The decision not to start it again, because it has failed."""

    text: str
    """Why it is not tried again; empty: the error itself is the reason."""


Decision: TypeAlias = Again | Rest | GiveUp


class RestartRule(Protocol):
    """Decides what happens to a container that has ended by itself and is wanted."""

    def decide(
        self, end: Exit | None, *, was_up: bool, restarts: Sequence[Restart], now: float
    ) -> Decision:
        """Returns the decision after an end.

        `end`: how it ended; None: it could not be created or started. `was_up`: whether it was ever
        up, in this run or before. `restarts`: the earlier restarts, the latest last, at most
        REMEMBERED. `now`: BOOTTIME (seconds).
        """
        ...


@dataclass(frozen=True, slots=True)
class Within:
    """Starts it again at once, a limited number of times within a time."""

    count: int
    seconds: float
    setting: str
    """The setting that has the count, for messages."""

    def decide(
        self, end: Exit | None, *, was_up: bool, restarts: Sequence[Restart], now: float
    ) -> Decision:
        if end is None or not was_up:
            return GiveUp("")
        recent = sum(1 for restart in restarts if now - restart.at < self.seconds)
        if recent >= self.count:
            return GiveUp(f"it was started again {recent} times ({self.setting})")
        return Again(0.0)


@dataclass(frozen=True, slots=True)
class Always:
    """Starts it again after growing pauses, however it ended."""

    def decide(
        self, end: Exit | None, *, was_up: bool, restarts: Sequence[Restart], now: float
    ) -> Decision:
        return _later(end, was_up, restarts, now)


@dataclass(frozen=True, slots=True)
class OnFailure:
    """Starts it again after growing pauses, unless it ended with exit code 0.

    What a restart of the machine interrupts has failed.
    """

    def decide(
        self, end: Exit | None, *, was_up: bool, restarts: Sequence[Restart], now: float
    ) -> Decision:
        if end is not None and end.code == 0:
            return _finished(was_up)
        return _later(end, was_up, restarts, now)


@dataclass(frozen=True, slots=True)
class Never:
    """Never starts it again."""

    def decide(
        self,
        end: Exit | None,
        *,
        was_up: bool,
        restarts: Sequence[Restart],  # noqa: ARG002 - the protocol has it
        now: float,  # noqa: ARG002
    ) -> Decision:
        if end is not None and end.code == 0:
            return _finished(was_up)
        return GiveUp("" if end is None else "its restart policy is never")


def _finished(was_up: bool) -> Decision:
    return Rest("it ended with exit code 0") if was_up else GiveUp("it ended before it was up")


def _later(end: Exit | None, was_up: bool, restarts: Sequence[Restart], now: float) -> Decision:
    if not was_up and end is None:
        return GiveUp("")
    if not was_up and len(restarts) + 1 >= _TRIES:
        return GiveUp(f"it ended {_TRIES} times before it was up")
    if not restarts or now - restarts[-1].at >= _LONG_RUN:
        return Again(_FIRST)
    return Again(min(max(2 * restarts[-1].after, _FIRST), _LONGEST))
