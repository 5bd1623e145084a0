"""Removes containers of one kind that a crash or an outage left without a keeper."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from claraedge.clock import Clock
from claraedge.runner.protocol import Container
from claraedge.supervised.workshop import Workshop
from claraedge.waiting.searches import OrphanSearch

_log = logging.getLogger(__name__)


class OrphanContainers(OrphanSearch):
    """Searches for containers that nobody supervises, and removes them.

    If a method raises RunnerUnavailableError, call it again.
    """

    def __init__(
        self, workshop: Workshop, clock: Clock, known: Callable[[], Collection[str]]
    ) -> None:
        """`known` returns the ids and names of the containers that somebody supervises or
        creates.
        """
        super().__init__(clock, expected=False)
        self._workshop = workshop
        self._known = known

    async def remove_orphans(self) -> None:
        """Removes containers without a keeper, if there may be some."""
        await self.run_due(self.remove_unknown)

    async def remove_unknown(self) -> None:
        """Removes containers without a keeper, and partial ones."""
        for container in await self._workshop.present():
            if not {container.id, container.name} & set(self._known()):
                await self.remove(container)
        await self.remove_halves()

    async def remove_halves(self) -> None:
        """Removes partial containers of a killed Podman: a reserved name and a layer."""
        for name in await self._workshop.half_made():
            if name not in self._known():
                await self._remove(name, name)

    async def remove(self, container: Container) -> None:
        """Removes an existing container; if that fails, a search is due again."""
        await self._remove(self._workshop.title_of(container), container.id)

    async def _remove(self, title: str, container: str) -> None:
        noun = self._workshop.kind.noun
        if await self._workshop.remove(title, container):
            _log.info("%s removed", noun, extra={noun: title, "container": container})
        else:
            self.expect()
