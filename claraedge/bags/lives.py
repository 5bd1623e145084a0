"""The lives of the bag jobs of this device: each ends with its deployment at the latest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from claraedge.bags import records
from claraedge.bags.leftovers import BagLeftovers
from claraedge.bags.model import BagJob
from claraedge.bags.recorder import BagRecorder, BagSite
from claraedge.blocking import in_thread
from claraedge.deployments import records as deployment_records
from claraedge.deployments.model import DeployedComponent, Deployment
from claraedge.deployments.running.sidecars import ComponentPlace
from claraedge.errors import ClaraedgeError
from claraedge.packages.bag_jobs import BagJobDefinition
from claraedge.packages.ids import NewKindId
from claraedge.store.database import Transaction
from claraedge.supervised.lives import Lives
from claraedge.waiting.patience import patiently

_log = logging.getLogger(__name__)


class BagLives(Lives[BagRecorder]):
    """Keeps bag jobs recording; implements `Sidecars` of deployments."""

    def __init__(self, site: BagSite, new_id: NewKindId) -> None:
        super().__init__(site.workshop, site.clock)
        self._site = site
        self._store = site.store
        self._database = site.store.database
        self._new_id = new_id
        self._places: dict[str, Mapping[str, ComponentPlace]] = {}
        """Id of a deployment that runs -> its components."""
        self._changed: set[str] = set()
        """Deployments that may have jobs without a recorder."""
        self._leftovers = BagLeftovers(site.store)

    # --- for deployments -----------------------------------------------------------------------

    def added(self, tx: Transaction, deployment: Deployment) -> None:
        """Adds the jobs that start with a deployment."""
        for component in deployment.plan.components:
            for definition in component.bag_jobs:
                id_ = self._new_id("bagjob")
                job = job_of(deployment, component, definition, id_, deployment.created)
                records.add(tx, job)

    def begun(self, deployment: str, places: Mapping[str, ComponentPlace]) -> None:
        """Starts the jobs of a deployment that runs."""
        self._places[deployment] = places
        self._changed.add(deployment)
        self._wake.set()

    async def end(self, deployment: str) -> None:
        """Ends the jobs of a deployment; returns once no container of them exists."""
        self._places.pop(deployment, None)
        jobs: list[BagJob] = []

        def work(tx: Transaction) -> Sequence[BagJob]:
            live = [job for job in records.listed(tx, deployment) if job.over is None]
            for job in live:
                records.set_unwanted(tx, job.id)
            return [records.get(tx, job.id) for job in live]

        async def end() -> None:
            jobs.extend(await self._database.write(work))

        def wait(error: ClaraedgeError | OSError) -> None:
            extra = {"deployment": deployment, "reason": str(error)}
            _log.warning("bag jobs are ended later", extra=extra)

        await patiently(end, wait, always=True)
        ending = [self._recorder(job) for job in jobs]
        for recorder in ending:
            recorder.stop()
        for recorder in ending:
            await recorder.silent.wait()

    # --- the lives -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Does as `Lives.run`, and finishes what an earlier daemon left."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leftovers.run(self._live), name="bags of an earlier daemon")
            await super().run()

    async def _load(self) -> Iterable[BagRecorder]:
        running = {d.id for d in await self._database.read(deployment_records.live)}
        found = []
        for job in await self._database.read(records.live):
            recorder = BagRecorder(self._site, job)
            if job.deployment not in running:  # as after the database of a backup
                recorder.stop()
            found.append(recorder)
        return found

    async def _renewed(self, life: BagRecorder) -> BagRecorder:
        again = BagRecorder(self._site, life.job)
        again.silent = life.silent
        self._put(again)
        return again

    async def _begin_recorded(self) -> None:
        """Begins the jobs of deployments that run since the last call."""
        while self._changed:
            deployment = next(iter(self._changed))
            for job in await self._database.read(partial(records.listed, deployment=deployment)):
                if job.over is None:
                    self._put(self._recorder(job))
            self._changed.discard(deployment)

    async def _remove_others(self) -> None:
        self._leftovers.expect()

    async def _ended(self, id_: str) -> None:  # noqa: ARG002 - it removes what is old
        for dropped in await self._store.drop_old():
            await in_thread(partial(self._site.workshop.log_path(dropped).unlink, True))

    def _recorder(self, job: BagJob) -> BagRecorder:
        """Returns the recorder of a job that has not ended, which is begun where it has none."""
        if job.id in self._live:
            return self._live[job.id]
        recorder = BagRecorder(self._site, job)
        self._put(recorder)
        return self._begin(recorder)

    def _put(self, recorder: BagRecorder) -> None:
        """Gives a recorder its place, if its deployment runs."""
        places = self._places.get(recorder.job.deployment, {})
        if recorder.job.component in places:
            recorder.place(places[recorder.job.component])


def job_of(
    deployment: Deployment,
    component: DeployedComponent,
    definition: BagJobDefinition,
    id_: str,
    now: float,
) -> BagJob:
    """Returns a new job of a component."""
    return BagJob(
        id=id_,
        name=definition.name,
        deployment=deployment.id,
        deployment_name=deployment.name,
        package=deployment.package,
        component=component.id,
        component_name=component.name,
        instance=component.instance,
        definition=definition,
        created=now,
    )
