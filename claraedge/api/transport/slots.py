"""How many calls are served at a time: each kind has a bound of its own.

So whatever a client keeps open, `Status` and `Cancel` of others are answered: uploads, downloads
and watches take no slot of a simple call. A call counts once its first message has come. Those
before that are bounded as well, and the oldest of them ends where one more comes: silence keeps
nobody out.
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


class Kind(Enum):
    """What a call is, in the words of its refusal."""

    UNARY = "calls with one request and one answer"
    UPLOAD = "uploads"
    DOWNLOAD = "downloads and lists"
    WATCH = "watches"
    UNREAD = "calls that are ended and whose client reads nothing"
    """What they sent last lies in gRPC until their client reads it, or is gone."""


#: Calls of each kind at a time, of all clients together.
BOUNDS: Mapping[Kind, int] = {
    Kind.UNARY: 512,
    Kind.UPLOAD: 256,
    Kind.DOWNLOAD: 256,
    Kind.WATCH: 512,
    Kind.UNREAD: 256,
}
#: Calls at a time whose first message has not come: far more than come at once by many clients.
OPENING = 1024
#: What would help, where a kind has no slot left.
_ADVICE = {
    Kind.UNARY: "try again when some have been answered",
    Kind.UPLOAD: "end those that nobody needs, or try again when some have ended",
    Kind.DOWNLOAD: "read those that are open to their end, or cancel them, and try again",
    Kind.WATCH: "cancel those that nobody needs; one watch can follow any number of jobs",
}


def endless(method: C) -> C:
    """Marks a method whose answers go on for as long as its client stays."""
    method.endless = True  # type: ignore[attr-defined]
    return method


def kind_of(method: MethodDescriptor, call: object) -> Kind:
    """The kind of a method's calls; `call` is what answers them."""
    if method.client_streaming:
        return Kind.WATCH if method.server_streaming else Kind.UPLOAD
    if method.server_streaming:
        return Kind.WATCH if getattr(call, "endless", False) else Kind.DOWNLOAD
    return Kind.UNARY


class Slot:
    """One call's slot in its kind."""

    def __init__(self, slots: Slots, kind: Kind) -> None:
        self._slots = slots
        self.kind = kind

    def leave(self) -> None:
        """The call is ended, and its client may never read that: others get the slot.

        It stays with its kind where too many calls are unread already.
        """
        if self._slots.free(Kind.UNREAD):
            self._slots.move(self, Kind.UNREAD)


class Slots:
    """The calls of one server. All of it runs on the server's loop."""

    def __init__(self, bounds: Mapping[Kind, int] = BOUNDS, opening: int = OPENING) -> None:
        self._bounds = bounds
        self._taken: Counter[Kind] = Counter()
        self._most_opening = opening
        self._opening: dict[asyncio.Timeout, None] = {}
        """The oldest first."""

    def free(self, kind: Kind) -> bool:
        """Whether one more call of a kind is served."""
        return self._taken[kind] < self._bounds[kind]

    def refuse_full(self, kind: Kind) -> None:
        """Raises TooManyCallsError where a kind has no slot left."""
        if not self.free(kind):
            raise TooManyCallsError(
                f"{self._bounds[kind]} {kind.value} are open, which is the most at a time;"
                f" {_ADVICE[kind]}"
            )

    @contextmanager
    def take(self, kind: Kind) -> Iterator[Slot]:
        """A slot while it is open. Raises TooManyCallsError."""
        self.refuse_full(kind)
        slot = Slot(self, kind)
        self._taken[kind] += 1
        try:
            yield slot
        finally:
            self._taken[slot.kind] -= 1

    def move(self, slot: Slot, kind: Kind) -> None:
        """Counts a call with another kind from now on."""
        self._taken[slot.kind] -= 1
        self._taken[kind] += 1
        slot.kind = kind

    @asynccontextmanager
    async def opening(self, seconds: float) -> AsyncGenerator[None, None]:
        """Bounds the wait for a call's first message.

        Raises CallTimeoutError after so many seconds, and TooManyCallsError where the call has
        waited for the longest of too many.
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
                    f"the client sent no message for {seconds:g} s; the call is ended"
                ) from None
            raise TooManyCallsError(
                f"more than {self._most_opening} calls wait for the first message of their client,"
                " and this one did so for the longest; open a call when there is something to send"
            ) from None
        finally:
            self._opening.pop(bound, None)
