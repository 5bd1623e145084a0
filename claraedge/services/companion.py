"""One container that runs beside jobs: who uses it, how it stands, and waiting for it.

Its life, from the making to the removal, is its keeper's (`keeper.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
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

_POLLS = (0.05, 1.0)
_CONNECTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds, and how often."""

    idle: float
    """It ends when nobody has used it for so long."""
    start: float
    """From its start until it takes connections."""
    restarts: int
    """Within ten minutes, while jobs use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A container that an earlier daemon made, as its labels tell of it."""

    container: str
    digest: str
    """Of the recipe that it was made by."""
    gpus: tuple[str, ...]
    memory: int
    """Megabytes that are kept for it."""


class Companion:
    """`users`, `networks`, `ports` and `asked` belong to its owner, who calls `tell` after a
    change; what becomes of the container to its keeper.
    """

    def __init__(
        self,
        workshop: Workshop,
        clock: Clock,
        key: str,
        name: str,
        limits: Limits,
        *,
        recipe: Recipe | None,
        found: Found | None = None,
    ) -> None:
        """`found`: a container of it runs already; the recipe comes with its first user."""
        self.key = key
        self.name = name
        self.limits = limits
        self.recipe = recipe
        self.digest = recipe.digest if recipe else found.digest if found else ""
        self.gpus = recipe.spec.devices if recipe else found.gpus if found else ()
        """CDI names of the devices that it has."""
        self.memory = recipe.memory if recipe else found.memory if found else 0
        """Megabytes that are kept for it."""
        self.users: set[str] = set()
        self.networks: dict[str, str] = {}
        """Those that it is on, or is to be on -> its address there."""
        self.ports: set[int] = set(recipe.ports if recipe else ())
        self.asked = False
        """To end as soon as nobody uses it."""
        self.idle_since = clock.elapsed()
        """When it was last given back; BOOTTIME."""
        self.task: asyncio.Task[None] | None = None
        """Its keeper's; None: nothing was made of it yet."""
        self.container = found.container if found else None
        self.making: str | None = None
        """Name of the container that was made last, from before it is made; None: nobody's."""
        self.wiring = asyncio.Lock()
        """Held while its container is made anew, or put on a network."""
        self.fit = False
        """It is healthy."""
        self.was_fit = found is not None
        self.trouble: str | None = None
        """Why it was last started again."""
        self.closed = False
        """It takes no more users."""
        self.failure: ClaraedgeError | None = None
        """What it ended of."""
        self._workshop = workshop
        self._clock = clock
        self._news = asyncio.Event()

    @property
    def log_path(self) -> Path:
        return self._workshop.log_path(self.key)

    # --- for its owner and its keeper ----------------------------------------------------------

    @property
    def news(self) -> asyncio.Event:
        """Set with the next change."""
        return self._news

    def tell(self) -> None:
        """Wakes whoever waits for a change."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def leave(self, job: str) -> None:
        """A job does not use it any more."""
        if job in self.users:
            self.users.discard(job)
            self.idle_since = self._clock.elapsed()
            self.tell()

    def ask(self) -> None:
        """It is to end once nobody uses it."""
        self.asked = True
        self.tell()

    # --- for its users -------------------------------------------------------------------------

    async def join(self, network: str, address: str) -> None:
        """Puts it on a network. Raises ServiceError or what else it ended of."""
        self.networks[network] = address
        for attempt in range(_CONNECTS):
            container = await self._until(lambda: self.container)
            async with self.wiring:  # whoever makes it anew takes all networks along
                if container != self.container:
                    continue
                try:
                    await self._workshop.runner.connect(container, network, address)
                except ContainerError:
                    if attempt + 1 == _CONNECTS:
                        raise
                else:
                    return
            await asyncio.sleep(_POLLS[1])  # it ends perhaps, and its task has not seen it yet
        raise NetworkError(f"{self.name} was started again while it was put on a network")

    async def up(self) -> str:
        """Its container, once that is healthy. Raises ServiceError or what else it ended of."""
        return await self._until(lambda: self.container if self.fit else None)

    async def listens(self, address: str, ports: set[int]) -> None:
        """Returns once it takes connections at all of these. Raises ServiceError after a time."""
        try:
            async with asyncio.timeout(self.limits.start):
                for port in sorted(ports):
                    await self._until_open(address, port)
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

    async def _until_open(self, address: str, port: int) -> None:
        pause = _POLLS[0]
        while True:
            container = await self._until(lambda: self.container)
            try:
                async with self._workshop.runner.dial(container, address, port):
                    return
            except (OSError, RunnerUnavailableError):
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _POLLS[1])
