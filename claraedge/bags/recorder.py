"""The life of one bag job, from its start to the end of its record.

A daemon that stops leaves the container running for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from claraedge.bags import records
from claraedge.bags.model import BagJob, BagJobStatus, BagJobView
from claraedge.bags.recipes import MEMORY, Recording, recipe_of
from claraedge.bags.storing import BagStore
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.deployments.running.sidecars import ComponentPlace
from claraedge.errors import ClaraedgeError
from claraedge.packages.bag_jobs import BagUpload
from claraedge.runner.protocol import Container
from claraedge.supervised.allocations import Allocations, Claim
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.keeper import Keeper, stays_up
from claraedge.supervised.owner import QuietOwner
from claraedge.supervised.workshop import Found, Workshop, read_found
from claraedge.waiting.patience import patiently, while_wanted

_log = logging.getLogger(__name__)

#: Seconds between two searches for bags that were closed, while a job records continuously: its
#: container does not report them.
_SEARCH = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BagSite:
    """The parts of the daemon that bag jobs use."""

    store: BagStore
    workshop: Workshop
    allocations: Allocations
    clock: Clock
    up_seconds: float
    """Seconds that a container has to run until it is up."""


class BagRecorder:
    """A job that has not ended."""

    def __init__(self, site: BagSite, job: BagJob) -> None:
        self.job = job
        self.waits_for = "its deployment"
        """What it waits for now, as text; empty: nothing."""
        self.silent = asyncio.Event()
        """Set once no container of it exists."""
        self._site = site
        self._found: Found | None = None
        self._place: ComponentPlace | None = None
        self._supervised: SupervisedContainer | None = None
        self._news = asyncio.Event()

    # --- for others ----------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.job.id

    def view(self) -> BagJobView:
        """Returns the job as it is at this moment."""
        supervised, status = self._supervised, BagJobStatus.STARTING
        reason = self._site.allocations.waits_for(self.job.id) or self.waits_for
        if not self.job.wanted:
            status = BagJobStatus.STOPPING
        elif supervised is not None and supervised.fit:
            status = BagJobStatus.RUNNING
        elif supervised is not None:
            reason = supervised.reason or reason
        return BagJobView(job=self.job, status=status, reason=reason)

    def names(self) -> Collection[str]:
        """Returns the ids and names of its container, also while it is being created."""
        supervised = self._supervised
        found = {self._found.container} if self._found is not None else set()
        if supervised is not None:
            found |= {word for word in (supervised.container, supervised.making) if word}
        return found

    def place(self, place: ComponentPlace) -> None:
        """Makes it record in the network of its component, which runs."""
        self._place = place
        self._news.set()

    def stop(self) -> None:
        """Makes it end. Call after that was recorded."""
        self.job = replace(self.job, wanted=False)
        if self._supervised is not None:
            self._supervised.dismiss()
        self._news.set()

    def change(self, job: BagJob) -> None:
        """Applies another definition. Call after that was recorded."""
        self.job = replace(self.job, definition=job.definition)
        if self._supervised is not None:
            self._supervised.notify()

    # --- the life ------------------------------------------------------------------------------

    def adopt(self, present: Mapping[str, Container]) -> None:
        """Prepares to adopt its container of an earlier daemon; `present`: key -> the container.

        Call it once, before `run`.
        """
        if self.job.id in present:
            self._found = read_found(present[self.job.id])
            if self.job.wanted:
                self._site.allocations.adopt(self.job.id, Claim(memory=MEMORY), ())

    async def run(self) -> None:
        """Records until it is to stop, stores the bags, and records the end.

        When it is cancelled, its container keeps running.
        """
        try:
            over, reason = await self._record()
            self.job = replace(self.job, wanted=False)
            self.waits_for = "its bags are stored"
            self._site.allocations.release(self.job.id)
            self.silent.set()
            id_, database = self.job.id, self._site.store.database
            await self._patiently(lambda: database.write(lambda tx: records.set_unwanted(tx, id_)))
            if self.job.definition.upload is not BagUpload.ON_DEMAND:
                await self._patiently(lambda: self._site.store.collect(id_, ended=True))
            await self._site.store.tidy(id_)
            now = self._site.clock.now()
            await self._patiently(
                lambda: database.write(lambda tx: records.set_over(tx, id_, over, reason, now))
            )
        finally:
            await self._abandon()

    async def _record(self) -> tuple[BagJobStatus, str]:
        """Returns how the job has ended, and why, once no container of it exists."""
        if self.job.wanted:
            await self._unless_stopped(self._prepare())
        supervised = self._supervise()
        if supervised is None:
            return BagJobStatus.STOPPED, ""
        assert supervised.task is not None, "its keeper has begun"
        while not supervised.task.done():
            news = supervised.news
            if supervised.fit:
                self.waits_for = ""
                await self._note_up()
            if supervised.wanted and self.job.definition.upload is BagUpload.CONTINUOUS:
                await self._store_closed()
            waiting = asyncio.ensure_future(news.wait())
            searches = self.job.definition.upload is BagUpload.CONTINUOUS and supervised.fit
            try:
                await asyncio.wait(
                    {supervised.task, waiting},
                    timeout=_SEARCH if searches else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                waiting.cancel()
        if isinstance(bug := supervised.task.exception(), Exception):
            failure, workshop = str(known(bug, supervised.name)), self._site.workshop
            await self._patiently(partial(workshop.remove_all, workshop.kind.key, self.job.id))
            return BagJobStatus.ERROR, failure
        if supervised.failure is not None and supervised.wanted:
            return BagJobStatus.ERROR, str(supervised.failure)
        return BagJobStatus.STOPPED, supervised.rested or ""

    async def _prepare(self) -> None:
        """Waits for its deployment and for memory, and creates its payload."""
        while self._place is None:
            self._news.clear()
            await self._news.wait()
        self.waits_for = "its payload"
        await self._patiently(lambda: self._site.store.payload_of(self.job.id))
        self.waits_for = "memory"
        await self._site.allocations.acquire(self.job.id, Claim(memory=MEMORY))
        self.waits_for = "the start of its container"

    def _supervise(self) -> SupervisedContainer | None:
        """Starts the keeper of its container; None if there is none, and none is wanted."""
        site, job, place = self._site, self.job, self._place
        recipe, holder = None, None
        if job.wanted:
            assert place is not None, "it waited for that"
            holder = place.holder
            recipe = recipe_of(
                job,
                image=place.images[job.definition.executable],
                environment=place.environment,
                address=next(iter(place.holder.networks.values()), ""),
                folder=site.store.folder(job.id).recording,
            )
        elif self._found is None:
            return None
        supervised = self._supervised = SupervisedContainer(
            site.workshop,
            job.id,
            f"bag job {job.name}",
            rule=Recording(),
            start=site.up_seconds,
            recipe=recipe,
            found=self._found,
            was_fit=job.was_up,
            patient=True,
            holder=holder,
        )
        keeper = Keeper(
            supervised, QuietOwner(), site.workshop, site.clock, fit=stays_up(site.up_seconds)
        )
        if not job.wanted:
            supervised.dismiss()
        keeper.begin()
        return supervised

    async def _note_up(self) -> None:
        if not self.job.was_up:
            self.job = replace(self.job, was_up=True)
            with contextlib.suppress(ClaraedgeError):  # then it has another try, after a restart
                await self._site.store.database.write(lambda tx: records.set_up(tx, self.job.id))

    async def _store_closed(self) -> None:
        """Stores the bags that were closed; what fails is tried again later."""
        try:
            await self._site.store.collect(self.job.id, ended=False)
        except ClaraedgeError as error:
            self.waits_for = str(error)

    async def _patiently(self, work: Callable[[], Awaitable[object]]) -> None:
        await patiently(work, self._wait, always=True)

    def _wait(self, error: ClaraedgeError | OSError) -> None:
        self.waits_for = str(error)
        extra = {"job": self.job.id, "reason": str(error)}
        _log.warning("a bag job waits", extra=extra)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        await while_wanted(work, lambda: self.job.wanted, self._news)

    async def _abandon(self) -> None:
        supervised = self._supervised
        if supervised is not None and supervised.task is not None:
            supervised.task.cancel()
            await asyncio.gather(supervised.task, return_exceptions=True)
