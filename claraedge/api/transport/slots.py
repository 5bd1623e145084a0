"""Limits the number of concurrent calls; each kind of call has its own limit.

Therefore `Status` and `Cancel` are answered whatever other clients keep open: uploads, downloads
and watches use no slot of a unary call. A call counts once its first message has arrived. The
number of calls before that is limited as well; if one more arrives, the oldest of them is ended, so
that silent clients cannot block others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.descriptor import MethodDescriptor

from claraedge.errors import CallTimeoutError, TooManyCallsError

C = TypeVar("C", bound=Callable[..., Any])


class CallKind(Enum):
    """The kind of a call; the value is its name in the text of a refusal."""

    UNARY = "calls with one request and one answer"
    UPLOAD = "uploads"
    DOWNLOAD = "downloads and lists"
    WATCH = "watches"
    UNREAD = "calls that are ended and whose client reads nothing"
    """gRPC keeps their last message until their client reads it or disconnects."""


#: Maximum concurrent calls of each kind, of all clients together.
BOUNDS: Mapping[CallKind, int] = {
    CallKind.UNARY: 512,
    CallKind.UPLOAD: 256,
    CallKind.DOWNLOAD: 256,
    CallKind.WATCH: 512,
    CallKind.UNREAD: 256,
}
#: Maximum calls whose first message has not arrived: far more than many clients open at once.
OPENING = 1024
#: The advice in a refusal, if a kind has no free slot.
_ADVICE = {
    CallKind.UNARY: "try again when some have been answered",
    CallKind.UPLOAD: "end those that nobody needs, or try again when some have ended",
    CallKind.DOWNLOAD: "read those that are open to their end, or cancel them, and try again",
    CallKind.WATCH: "cancel those that nobody needs; one watch can follow any number of jobs",
}


def endless(method: C) -> C:
    """Marks a method that sends answers until its client disconnects."""
    method.endless = True  # type: ignore[attr-defined]
    return method


def kind_of(method: MethodDescriptor, call: object) -> CallKind:
    """Returns the kind of the calls of a method; `call` is the function that answers them."""
    if method.client_streaming:
        return CallKind.WATCH if method.server_streaming else CallKind.UPLOAD
    if method.server_streaming:
        return CallKind.WATCH if getattr(call, "endless", False) else CallKind.DOWNLOAD
    return CallKind.UNARY


class Slot:
    """The slot of one call."""

    def __init__(self, slots: Slots, kind: CallKind) -> None:
        self._slots = slots
        self.kind = kind

    def leave(self) -> None:
        """Frees the slot for others after the call has ended, as its client may never read that.

        The call then counts as UNREAD; it keeps its slot if too many calls are UNREAD already.
        """
        if self._slots.free(CallKind.UNREAD):
            self._slots.move(self, CallKind.UNREAD)


class Slots:
    """The slots of one server. Use it only on the server's event loop."""

    def __init__(self, bounds: Mapping[CallKind, int] = BOUNDS, opening: int = OPENING) -> None:
        self._bounds = bounds
        self._used: Counter[CallKind] = Counter()
        self._most_opening = opening
        self._opening: dict[asyncio.Timeout, None] = {}
        """The calls whose first message has not arrived, the oldest first."""

    def free(self, kind: CallKind) -> bool:
        """Returns whether a kind has a free slot."""
        return self._used[kind] < self._bounds[kind]

    def refuse_full(self, kind: CallKind) -> None:
        """Raises TooManyCallsError if a kind has no free slot."""
        if not self.free(kind):
            raise TooManyCallsError(
                f"{self._bounds[kind]} {kind.value} are open, which is the most at a time;"
                f" {_ADVICE[kind]}"
            )

    @contextmanager
    def acquire(self, kind: CallKind) -> Iterator[Slot]:
        """Occupies a slot while the context is open. Raises TooManyCallsError."""
        self.refuse_full(kind)
        slot = Slot(self, kind)
        self._used[kind] += 1
        try:
            yield slot
        finally:
            self._used[slot.kind] -= 1

    def move(self, slot: Slot, kind: CallKind) -> None:
        """Counts a call as another kind from now on."""
        self._used[slot.kind] -= 1
        self._used[kind] += 1
        slot.kind = kind

    @asynccontextmanager
    async def opening(self, seconds: float) -> AsyncGenerator[None, None]:
        """Limits the wait for the first message of a call.

        Raises CallTimeoutError after `seconds`, and TooManyCallsError if too many calls wait and
        this one has waited longest.
        """
        if len(self._opening) >= self._most_opening:
            oldest = next(iter(self._opening))
            if not oldest.expired():
                del self._opening[oldest]
                oldest.reschedule(asyncio.get_running_loop().time())
        bound = asyncio.timeout(seconds)
        try:
            async with bound:
                self._opening[bound] = None
                yield
        except TimeoutError:
            if bound in self._opening:
                raise CallTimeoutError(
                    f"the client sent no message for {seconds:g} s, so the call is ended; open a"
                    " call when there is something to send"
                ) from None
            raise TooManyCallsError(
                f"more than {self._most_opening} calls wait for the first message of their client,"
                " and this one did so for the longest; open a call when there is something to send"
            ) from None
        finally:
            self._opening.pop(bound, None)
