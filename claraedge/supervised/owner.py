"""What a keeper asks of its owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, TypeVar

from claraedge.errors import ClaraedgeError
from claraedge.supervised.container import SupervisedContainer

C = TypeVar("C", bound=SupervisedContainer)
ContraC = TypeVar("ContraC", bound=SupervisedContainer, contravariant=True)

#: A check of a running container, given with its id: returns once it is up, or raises the error of
#: its kind.
Fitting: TypeAlias = Callable[[C, str], Awaitable[None]]


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
