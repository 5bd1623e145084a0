"""A companion: one container that serves jobs, with its users, its state, and ways to wait for it.

It is a service of a pipeline or the inference server. `keeper.py` controls its life, from creation
to removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from claraedge.clock import Clock
from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    NetworkError,
    RunnerUnavailableError,
    ServiceError,
)
from claraedge.services.recipes import Recipe
from claraedge.services.workshop import Workshop
from claraedge.waiting.backoff import Backoff

_POLLS = (0.05, 1.0)
_CONNECTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionLimits:
    """Time limits in seconds, and the limit of restarts."""

    idle: float
    """Seconds without a user after which it ends."""
    start: float
    """Seconds from its start until it must accept connections."""
    restarts: int
    """Number of restarts within ten minutes, while jobs use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A container that an earlier daemon created, as its labels describe it."""

    container: str
    digest: str
    """Digest of the recipe by which it was created."""
    gpus: tuple[str, ...]
    memory: int
    """Megabytes that are reserved for it."""


class Companion:
    """A service container that jobs share.

    Its owner controls `users`, `networks`, `ports` and `asked`, and calls `notify` after a change;
    its keeper controls the container.
    """

    def __init__(
        self,
        workshop: Workshop,
        clock: Clock,
        key: str,
        name: str,
        limits: CompanionLimits,
        *,
        recipe: Recipe | None,
        found: Found | None = None,
    ) -> None:
        """`found`: its container runs already; the recipe comes with its first user."""
        self.key = key
        self.name = name
        self.limits = limits
        self.recipe = recipe
        self.digest = recipe.digest if recipe else found.digest if found else ""
        self.gpus = recipe.spec.devices if recipe else found.gpus if found else ()
        """CDI names of the GPUs that are assigned to it."""
        self.memory = recipe.memory if recipe else found.memory if found else 0
        """Megabytes that are reserved for it."""
        self.users: set[str] = set()
        self.networks: dict[str, str] = {}
        """Network that it is on, or is to be on -> its address there."""
        self.ports: set[int] = set(recipe.ports if recipe else ())
        self.asked = False
        """Whether it ends as soon as no job uses it."""
        self.idle_since = clock.elapsed()
        """BOOTTIME (seconds) when its last user left, or when it was created."""
        self.task: asyncio.Task[None] | None = None
        """The task of its keeper; None: its container was not created yet."""
        self.container = found.container if found else None
        self.making: str | None = None
        """Name of the last container, set before its creation; None: orphan removal may take it."""
        self.wiring = asyncio.Lock()
        """Locked while its container is recreated, or connected to a network."""
        self.fit = False
        """Whether it is healthy."""
        self.was_fit = found is not None
        self.trouble: str | None = None
        """Why it was last restarted."""
        self.closed = False
        """Whether it accepts no more users."""
        self.failure: ClaraedgeError | None = None
        """The error that ended it."""
        self._workshop = workshop
        self._clock = clock
        self._news = asyncio.Event()

    @property
    def log_path(self) -> Path:
        """Path of the file with its output."""
        return self._workshop.log_path(self.key)

    # --- for its owner and its keeper ----------------------------------------------------------

    @property
    def news(self) -> asyncio.Event:
        """An event that the next change sets."""
        return self._news

    def notify(self) -> None:
        """Wakes all that wait for a change."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def leave(self, job: str) -> None:
        """Removes a job from its users."""
        if job in self.users:
            self.users.discard(job)
            self.idle_since = self._clock.elapsed()
            self.notify()

    def ask(self) -> None:
        """Makes it end once no job uses it."""
        self.asked = True
        self.notify()

    # --- for its users -------------------------------------------------------------------------

    async def join(self, network: str, address: str) -> None:
        """Connects it to a network.

        Raises ContainerError, NetworkError, ServiceError, or the error that ended it.
        """
        self.networks[network] = address
        for attempt in range(_CONNECTS):
            container = await self._until(lambda: self.container)
            async with self.wiring:  # a recreated container gets all networks
                if container != self.container:
                    continue
                try:
                    await self._workshop.runner.connect(container, network, address)
                except ContainerError:
                    if attempt + 1 == _CONNECTS:
                        raise
                else:
                    return
            await asyncio.sleep(_POLLS[1])  # it may have ended, unnoticed by its task so far
        raise NetworkError(f"{self.name} was started again while it was put on a network")

    async def up(self) -> str:
        """Returns its container once healthy. Raises ServiceError, or the error that ended it."""
        return await self._until(lambda: self.container if self.fit else None)

    async def listens(self, address: str, ports: set[int]) -> None:
        """Returns once it accepts connections at all of these ports.

        Raises ServiceError after `CompanionLimits.start` seconds, or the error that ended it.
        """
        try:
            async with asyncio.timeout(self.limits.start):
                for port in sorted(ports):
                    await poll(partial(self._is_open, address, port))
        except TimeoutError as error:
            shown = ", ".join(str(port) for port in sorted(ports))
            raise ServiceError(
                f"{self.name} does not take connections at port {shown} within"
                f" {self.limits.start:g} s{await self._workshop.last_words(self.key)}"
            ) from error

    # --- waiting -------------------------------------------------------------------------------

    async def _until(self, value: Callable[[], str | None]) -> str:
        while True:
            if self.failure is not None:
                raise self.failure
            if self.closed:
                raise ServiceError(f"{self.name} was ended")
            found = value()
            if found is not None:
                return found
            await self._news.wait()

    async def _is_open(self, address: str, port: int) -> bool:
        container = await self._until(lambda: self.container)
        try:
            async with self._workshop.runner.dial(container, address, port):
                return True
        except (OSError, RunnerUnavailableError):
            return False


async def poll(check: Callable[[], Awaitable[bool]]) -> None:
    """Returns once `check` returns True; calls it again after growing pauses."""
    pauses = Backoff(*_POLLS, factor=1.5)
    while not await check():  # noqa: ASYNC110 - what it asks reports no change
        await asyncio.sleep(pauses.next())
