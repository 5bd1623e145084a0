"""A runner that stops answering at one of its calls: the daemon dies there, or Podman does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from claraedge.errors import RunnerUnavailableError
from claraedge.runner.memory.runner import MemoryRunner

#: Calls that change something, and those that a decision depends on.
STEPS = (
    "create",
    "start",
    "stop",
    "remove",
    "create_network",
    "remove_network",
    "connect",
    "containers",
    "networks",
    "half_made",
    "find_image",
    "holds",
)


class CutRunner:
    """Passes all calls to a runner, until the call with a number is reached.

    That call is done before the cut (`after`) or not done. From then on the daemon has died
    (`dies`): no call returns, until `revive`. Or Podman has: this call fails once.
    """

    def __init__(
        self, runner: MemoryRunner, *, at: int | None, after: bool, dies: bool = True
    ) -> None:
        self.calls: list[str] = []
        self.cut = asyncio.Event()
        self.runner = runner
        self._at = at
        self._after = after
        self._dies = dies

    def revive(self) -> None:
        """Ends the cut, as the next daemon has a connection of its own."""
        self._at = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.runner, name)
        if name not in STEPS:
            return found

        async def call(*args: Any, **more: Any) -> Any:
            return await self._call(name, found, *args, **more)

        return call if inspect.iscoroutinefunction(found) else found

    async def _call(
        self, name: str, found: Callable[..., Awaitable[Any]], *args: Any, **more: Any
    ) -> Any:
        self.calls.append(name)
        number = len(self.calls)
        if self._at is None or number < self._at or (number > self._at and not self._dies):
            return await found(*args, **more)
        if number == self._at and self._after:
            await found(*args, **more)
        self.cut.set()
        if self._dies:
            await asyncio.Event().wait()
        raise RunnerUnavailableError(f"Podman died while it did {name}")
