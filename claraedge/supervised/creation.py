"""Creates, starts and removes the containers of one that is kept running, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from claraedge.blocking import in_thread
from claraedge.errors import ClaraedgeError, RunnerUnavailableError, StorageFullError
from claraedge.fs import files
from claraedge.runner.protocol import Phase
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.workshop import Workshop

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Seconds between two calls while Podman does not answer.
_OUTAGE = 1.0


class SupervisedCreation:
    """Sets `container` and all that follows from it."""

    def __init__(self, supervised: SupervisedContainer, workshop: Workshop) -> None:
        self._supervised = supervised
        self._workshop = workshop

    async def make(self) -> str:
        """Creates and starts a container by the recipe; retries while Podman is down and somebody
        wants it. Returns its id.

        Raises the error of its kind for its folders, StorageFullError, the errors of
        `Runner.create` and `Runner.start`, and RunnerUnavailableError for one that was never up and
        is not patient.
        """
        supervised = self._supervised
        known = True
        while True:
            try:
                if not known:
                    await self._remove_unknown()
                return await self._make()
            except RunnerUnavailableError:
                known = False
                self._left_behind()
                if not (supervised.was_fit or supervised.patient) or not supervised.wanted:
                    raise
                await asyncio.sleep(_OUTAGE)
            except OSError as error:  # from its folders
                raise self._unmade(error) from error

    async def end(self, *, running: bool = True) -> None:
        """Removes the container, if there is one; `running`: ends it before."""
        supervised = self._supervised
        supervised.fit = False
        async with supervised.wiring:
            container, supervised.container = supervised.container, None
        if container is None:
            return
        remove = self._workshop.end if running else self._workshop.remove
        if not await remove(supervised.name, container):
            self._left_behind()
        noun = self._workshop.kind.noun
        _log.info("%s ended", noun, extra={noun: supervised.name, "container": container[:12]})

    async def _make(self) -> str:
        supervised = self._supervised
        workshop, recipe = self._workshop, supervised.recipe
        assert recipe is not None, "who uses it has said how it is made"
        async with supervised.wiring:
            joins = "" if supervised.holder is None else await supervised.holder.ready()
            if supervised.prepare is not None:
                await supervised.prepare()
            name = supervised.making = workshop.new_name(supervised.key)
            supervised.digest, supervised.gpus = recipe.digest, recipe.spec.devices
            supervised.memory = recipe.memory
            supervised.joins, supervised.phase = joins, Phase.RUNNING
            supervised.container = container = await workshop.make(
                recipe, name=name, networks=supervised.networks, joins=joins
            )
            await workshop.runner.start(container)
        supervised.notify()
        noun = workshop.kind.noun
        log = await in_thread(workshop.log_path, supervised.key)
        extra = {noun: supervised.name, "container": container[:12], "log": str(log)}
        _log.info("%s started", noun, extra=extra)
        return container

    async def _remove_unknown(self) -> None:
        """Removes what a call without an answer has created: it may even run.

        Raises RunnerUnavailableError.
        """
        supervised = self._supervised
        async with supervised.wiring:
            supervised.container = None
        for container in await self._workshop.present():
            if self._workshop.key_of(container) == supervised.key:
                await self._workshop.remove(supervised.name, container.id)

    def _unmade(self, error: OSError) -> ClaraedgeError:
        if files.is_full(error):
            return StorageFullError(
                f"{error.filename}: the disk is full; free some space there, then work continues"
            )
        return self._workshop.kind.error(f"{self._supervised.name} cannot be made: {error}")

    def _left_behind(self) -> None:
        """Reports that a container may remain, so that orphan removal finds it."""
        self._supervised.making = None
        self._workshop.on_left()


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call until Podman's service answers: containers run without it."""
    while True:
        try:
            return await call()
        except RunnerUnavailableError:
            await asyncio.sleep(_OUTAGE)
