"""A holder: a container that is never started, and whose network namespace others join.

It costs one process that waits (4 MB). The namespace lasts as long as this process, so that those
which join it can end and be created again, and find the same addresses and the same localhost.
"""

from __future__ import annotations

import asyncio
import logging

from claraedge.errors import NetworkError
from claraedge.supervised.recipe import Recipe
from claraedge.supervised.workshop import Workshop

_log = logging.getLogger(__name__)


class Holder:
    """The network namespace that some containers share."""

    def __init__(self, workshop: Workshop, recipe: Recipe, *, found: str | None = None) -> None:
        """`recipe`: of a container that could be started; `found`: its container from before."""
        self.key = recipe.key
        self.recipe = recipe
        self.networks: dict[str, str] = {}
        """Network that it is on, or is to be on -> its address there."""
        self.joined: dict[str, str] = {}
        """Network that others created and that it has joined -> its address there."""
        self.container = found
        self.making: str | None = None
        """Name of the last container, set before its creation."""
        self._missing: dict[str, str] = {}
        """Those of `joined` that the present container is not on."""
        self._workshop = workshop
        self._wiring = asyncio.Lock()

    async def ready(self) -> str:
        """Returns the id of its container, which is created where there is none, or where it has
        lost its namespace: killed from outside, or by a restart of the machine. A network that it
        has joined and that is gone is left out.

        Raises OSError and the errors of `Runner.create`.
        """
        workshop, title = self._workshop, self.recipe.name
        async with self._wiring:
            old = self.container
            if old is not None:
                if await workshop.runner.holds(old):
                    await self._join_missing(old)
                    return old
                self.container = None
                if not await workshop.remove(title, old):
                    self._left_behind()
            name = self.making = workshop.new_name(self.key)
            try:
                self.container = await workshop.make(self.recipe, name=name, networks=self.networks)
            except BaseException:
                self._left_behind()
                raise
            extra = {workshop.kind.noun: title, "container": self.container[:12]}
            _log.info("network namespace created", extra=extra)
            self._missing = dict(self.joined)
            await self._join_missing(self.container)
            return self.container

    async def join(self, network: str, address: str) -> None:
        """Connects it to a network, now and whenever it is created again.

        Raises NetworkError if Podman refuses.
        """
        async with self._wiring:
            container, runner = self.container, self._workshop.runner
            if container is None or not await runner.holds(container):
                self._missing[network] = address  # until it is created again
            else:
                await runner.connect(container, network, address)
            self.joined[network] = address

    async def end(self) -> None:
        """Removes its container: call it after the end of those that joined it."""
        async with self._wiring:
            container, self.container = self.container, None
            if container is not None and not await self._workshop.remove(
                self.recipe.name, container
            ):
                self._left_behind()

    async def _join_missing(self, container: str) -> None:
        for network, address in list(self._missing.items()):
            try:
                await self._workshop.runner.connect(container, network, address)
            except NetworkError as error:  # of others: no reason not to run
                extra = {self._workshop.kind.noun: self.recipe.name, "reason": str(error)}
                _log.warning("network not joined again", extra=extra)
                self.joined.pop(network, None)
            del self._missing[network]

    def _left_behind(self) -> None:
        """Reports that its container may remain, so that orphan removal finds it."""
        self.making = None
        self._workshop.on_left()
