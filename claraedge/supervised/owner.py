"""What a keeper asks of its owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeAlias, TypeVar

from claraedge.bugs import known
from claraedge.errors import ClaraedgeError
from claraedge.supervised.container import SupervisedContainer

C = TypeVar("C", bound=SupervisedContainer)
ContraC = TypeVar("ContraC", bound=SupervisedContainer, contravariant=True)

#: A check of a running container, given with its id: returns once it is up, or raises the error of
#: its kind.
Fitting: TypeAlias = Callable[[C, str], Awaitable[None]]
#: Watches a running container, given with its id: returns why it is to be ended, for people.
Watching: TypeAlias = Callable[[C, str], Awaitable[str]]


class KeeperOwner(Protocol[ContraC]):
    """The owner that keepers report to."""

    def closing(self, supervised: ContraC) -> None:
        """Called in the step that decides that the container ends for good."""
        ...

    def up(self, supervised: ContraC) -> None:
        """Called when its container is up: for the first time, or again."""
        ...

    def restarted(self, supervised: ContraC) -> None:
        """Called when its container has ended by itself, and will be created again."""
        ...

    async def rested(self, supervised: ContraC, text: str) -> None:
        """Called when it has ended as wanted, before its container is removed."""
        ...

    async def lost(self, supervised: ContraC, error: ClaraedgeError) -> None:
        """Called when it has failed for good while it was wanted, before its container is
        removed.
        """
        ...

    def ended(self, supervised: ContraC, task: asyncio.Task[None]) -> None:
        """Called when its task has ended: with the container, with the daemon, or by a bug."""
        ...


class QuietOwner(Generic[ContraC]):
    """Needs no report; a subclass overrides those that it needs."""

    def closing(self, supervised: ContraC) -> None:
        pass

    def up(self, supervised: ContraC) -> None:
        pass

    def restarted(self, supervised: ContraC) -> None:
        pass

    async def rested(self, supervised: ContraC, text: str) -> None:
        pass

    async def lost(self, supervised: ContraC, error: ClaraedgeError) -> None:
        pass

    def ended(self, supervised: ContraC, task: asyncio.Task[None]) -> None:
        pass


def close_after_bug(
    supervised: SupervisedContainer, task: asyncio.Task[None], kind: type[ClaraedgeError]
) -> ClaraedgeError | None:
    """Returns the failure of a container whose keeper ended by a bug, and wakes all that wait for
    it; None if the keeper did not.
    """
    if task.cancelled() or not isinstance(error := task.exception(), Exception):
        return None
    failure = supervised.failure = kind(str(known(error, supervised.name)))
    supervised.closed = True
    supervised.notify()
    return failure
