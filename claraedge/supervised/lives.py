"""Lives of things that keep containers running: each has a task, and an error ends none of them."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.errors import ClaraedgeError, RunnerUnavailableError
from claraedge.runner.protocol import Container
from claraedge.supervised.orphans import OrphanContainers
from claraedge.supervised.workshop import Workshop
from claraedge.waiting.patience import until_done
from claraedge.waiting.until import wait_set

_log = logging.getLogger(__name__)

_RETRY = 1.0


class Life(Protocol):
    """One of these things, until it has ended."""

    waits_for: str
    """What it waits for now, as text; empty: nothing."""

    @property
    def id(self) -> str:
        """Its id: the keys of its containers are the id, or begin with it and a dot."""
        ...

    def names(self) -> Collection[str]:
        """Returns the ids and names of its containers, also of those that are being created."""
        ...

    def adopt(self, present: Mapping[str, Container]) -> None:
        """Prepares to take up what an earlier life left; `present`: key -> the container.

        Called once, before `run`.
        """
        ...

    async def run(self) -> None:
        """Controls it until it has ended. When it is cancelled, its containers keep running."""
        ...


L = TypeVar("L", bound=Life)


class Lives(ABC, Generic[L]):
    """Keeps all things of one kind.

    Call `prepare` at start, then `run` until it is cancelled; the containers keep running after it.
    """

    def __init__(self, workshop: Workshop, clock: Clock) -> None:
        self._workshop = workshop
        self._live: dict[str, L] = {}
        self._new: list[L] = []
        self._wake = asyncio.Event()
        self._orphans = OrphanContainers(workshop, clock, self._known)
        self._taken_up = False
        self._tidy = False

    # --- what each kind does -------------------------------------------------------------------

    @abstractmethod
    async def _load(self) -> Iterable[L]:
        """Returns all that have not ended, as they are recorded."""

    @abstractmethod
    async def _renewed(self, life: L) -> L:
        """Returns one whose life met an error, as a new daemon finds it; `life`: the former.

        Reads the state of the former last, without an await after it.
        """

    async def _begin_recorded(self) -> None:
        """Begins what was recorded elsewhere; called in each round."""

    async def _remove_others(self) -> None:
        """Removes what an earlier daemon left, once its containers are gone."""

    async def _record_end(self, life: L) -> None:
        """Records the end of one that has ended; where it fails, its life begins again."""

    async def _ended(self, id_: str) -> None:
        """Removes what is not needed after an end."""

    # --- for all kinds -------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Reads what has not ended, and adopts its containers.

        If Podman does not answer, `run` does that.
        """
        self._live |= {life.id: life for life in await self._load()}
        try:
            await self._take_up()
        except RunnerUnavailableError as error:
            extra = {"reason": str(error)}
            _log.warning("the search for %ss is repeated later", self._noun, extra=extra)

    async def run(self) -> None:
        """Keeps all of them, until cancelled; raises what is a bug of its own."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                tidy = await self._tidied()
                if self._taken_up:
                    new, self._new = self._new, []
                    for life in new:
                        group.create_task(self._keep(life.id), name=f"{self._noun} {life.id}")
                await wait_set(self._wake, None if tidy else _RETRY)

    def expect_orphans(self) -> None:
        """Schedules a search for containers that nobody supervises."""
        self._orphans.expect()
        self._wake.set()

    def _begin(self, life: L) -> L:
        self._live[life.id] = life
        self._new.append(life)
        self._wake.set()
        return life

    async def _keep(self, id_: str) -> None:
        """Controls one until it has ended. An error in it is its own failure."""

        async def attempt(failed: bool) -> None:
            if failed:
                await self._again(id_)
            await self._live[id_].run()
            await self._record_end(self._live[id_])

        def note(error: Exception) -> None:
            text = known(error, f"a {self._noun}", **{self._noun: id_})
            self._live[id_].waits_for = str(text)

        await until_done(attempt, note)
        del self._live[id_]
        try:
            await self._ended(id_)
        except (ClaraedgeError, OSError) as error:  # the next end removes it
            extra = {"reason": str(error)}
            _log.warning("what is left of old %ss stays for now", self._noun, extra=extra)

    async def _again(self, id_: str) -> None:
        """Puts one whose life met an error in the state that a killed daemon leaves."""
        present = await self._present()
        again = await self._renewed(self._live[id_])
        again.adopt(present.get(id_, {}))
        self._live[id_] = again
        self.expect_orphans()

    async def _tidied(self) -> bool:
        """Does what is outstanding; returns False if it has to be called again."""
        try:
            await self._take_up()
            await self._begin_recorded()
            await self._orphans.remove_orphans()
            if not self._tidy:
                await self._remove_others()
                self._tidy = True
        except ClaraedgeError as error:
            _log.debug("tidying waits", extra={"reason": str(error)})
            for life in self._new:
                life.waits_for = str(error)
            return False
        return self._orphans.soonest() is None

    async def _take_up(self) -> None:
        if self._taken_up:
            return
        present = await self._present()
        for life in self._live.values():
            life.adopt(present.get(life.id, {}))
        self._taken_up = True
        self._new = list(self._live.values())
        self.expect_orphans()

    async def _present(self) -> Mapping[str, Mapping[str, Container]]:
        """Returns, per id, its existing containers: key -> container."""
        found: dict[str, dict[str, Container]] = {}
        for container in await self._workshop.present():
            key = self._workshop.key_of(container)
            found.setdefault(key.partition(".")[0], {})[key] = container
        return found

    def _known(self) -> Collection[str]:
        return {name for life in self._live.values() for name in life.names()}

    @property
    def _noun(self) -> str:
        return self._workshop.kind.noun
