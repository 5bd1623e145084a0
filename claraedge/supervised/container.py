"""A container that is kept running: its state, and ways to wait for it.

`keeper.py` controls its life, from creation to removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from claraedge.errors import ClaraedgeError, ContainerError, NetworkError, RunnerUnavailableError
from claraedge.runner.protocol import Phase
from claraedge.supervised.holder import Holder
from claraedge.supervised.recipe import Recipe
from claraedge.supervised.restarts import RestartRule
from claraedge.supervised.workshop import Found, Workshop
from claraedge.waiting.backoff import Backoff

_POLLS = (0.05, 1.0)
_CONNECTS = 3


class SupervisedContainer:
    """A container that is kept running as long as it is wanted, across its restarts.

    Its owner controls `networks` and `ports`, and calls `notify` after a change; its keeper
    controls the container.
    """

    def __init__(
        self,
        workshop: Workshop,
        key: str,
        name: str,
        *,
        rule: RestartRule,
        start: float,
        recipe: Recipe | None,
        found: Found | None = None,
        was_fit: bool = False,
        patient: bool = False,
        holder: Holder | None = None,
        prepare: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`recipe`: how it is created; None: `found` exists already, and the recipe comes later.

        `start`: seconds from its start until it must accept connections. `was_fit`: whether it was
        up before this start of the daemon. `patient`: whether its creation waits while Podman does
        not answer, also before it was up. `holder`: whose network namespace it joins; `networks` is
        then empty. `prepare` is called before each creation, and may raise as a creation does.
        """
        self.key = key
        self.name = name
        self.rule = rule
        self.start = start
        self.patient = patient
        self.holder = holder
        self.prepare = prepare
        self.recipe = recipe
        self.digest = recipe.digest if recipe else ""
        """Digest of the recipe by which its container was created, or is to be created."""
        self.gpus = recipe.spec.devices if recipe else ()
        """CDI names of the GPUs that are assigned to it."""
        self.memory = recipe.memory if recipe else 0
        """Megabytes that are reserved for it."""
        self.networks: dict[str, str] = {}
        """Network that it is on, or is to be on -> its address there."""
        self.ports: set[int] = set(recipe.ports if recipe else ())
        self.task: asyncio.Task[None] | None = None
        """The task of its keeper; None: its container was not created yet."""
        self.container: str | None = None
        self.making: str | None = None
        """Name of the last container, set before its creation; None: orphan removal may take it."""
        self.joins = ""
        """Id of the holder whose network namespace its container shares; empty: none."""
        self.phase = Phase.RUNNING
        """The phase in which its container was found, or RUNNING."""
        self.wiring = asyncio.Lock()
        """Locked while its container is recreated, or connected to a network."""
        self.fit = False
        """Whether it is up."""
        self.was_fit = was_fit
        self.restarts = 0
        """How often it was started again, since this start of the daemon."""
        self.reason: str | None = None
        """Why it ended the last time; None: it never did."""
        self.rested: str | None = None
        """How it ended as wanted by its rule; None: it did not."""
        self.closed = False
        """Whether it has ended for good, or is about to."""
        self.failure: ClaraedgeError | None = None
        """The error that ended it."""
        self._workshop = workshop
        self._wanted = True
        self._news = asyncio.Event()
        if found is not None:
            self.container = found.container
            self.digest, self.gpus, self.memory = found.digest, found.gpus, found.memory
            self.joins, self.phase = found.joins, found.phase

    @property
    def log_path(self) -> Path:
        """Path of the file with its output."""
        return self._workshop.log_path(self.key)

    # --- for its owner and its keeper ----------------------------------------------------------

    @property
    def wanted(self) -> bool:
        """Whether it is to be started again when it has ended, as its rule says."""
        return self._wanted

    def left(self) -> float | None:
        """Returns the seconds until it is to end (0 or less: now); None: it is kept running."""
        return None if self._wanted else 0.0

    def dismiss(self) -> None:
        """Makes it end now: it is not wanted any more. Await `task` for its end."""
        self._wanted = False
        self.notify()

    @property
    def news(self) -> asyncio.Event:
        """An event that the next change sets."""
        return self._news

    def notify(self) -> None:
        """Wakes all that wait for a change."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    # --- for its users -------------------------------------------------------------------------

    async def join(self, network: str, address: str) -> None:
        """Connects it to a network, now and whenever it is created again.

        Raises ContainerError or NetworkError if Podman refuses, or the error that ended it.
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
        """Returns its container once it is up.

        Raises the error that ended it, or the error of its kind if it ended without one.
        """
        return await self._until(lambda: self.container if self.fit else None)

    async def listens(self, address: str, ports: set[int]) -> None:
        """Returns once it accepts connections at all of these ports.

        Raises the error of its kind after `start` seconds, or the error that ended it.
        """
        try:
            async with asyncio.timeout(self.start):
                for port in sorted(ports):
                    await poll(partial(self._is_open, address, port))
        except TimeoutError as error:
            shown = ", ".join(str(port) for port in sorted(ports))
            raise self._workshop.kind.error(
                f"{self.name} does not accept connections at port {shown} within"
                f" {self.start:g} s{await self._workshop.last_words(self.key)}"
            ) from error

    # --- waiting -------------------------------------------------------------------------------

    async def _until(self, value: Callable[[], str | None]) -> str:
        while True:
            if self.failure is not None:
                raise self.failure
            if self.closed:
                raise self._workshop.kind.error(f"{self.name} was ended")
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
