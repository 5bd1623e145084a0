"""The bag jobs of this device, and their bags: start, stop, lists, and their lives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

import msgspec

from claraedge.bags import records
from claraedge.bags.lives import BagLives, job_of
from claraedge.bags.model import Bag, BagJob, BagJobStatus, BagJobView, BagStatus, TimeRange
from claraedge.bags.recorder import BagSite
from claraedge.blocking import to_its_end
from claraedge.deployments import records as deployment_records
from claraedge.deployments.bag_planning import bag_job
from claraedge.deployments.model import DeployedComponent, Deployment
from claraedge.errors import (
    BagNotReadyError,
    DeploymentNotReadyError,
    InvalidBagJobError,
    StorageFullError,
)
from claraedge.packages import records as package_records
from claraedge.packages.bag_jobs import BagJobDefinition, BagUpload, find_mistakes
from claraedge.packages.ids import NewKindId, is_id
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)


class Bags(BagLives):
    """Records topics of deployments, and starts, changes, shows and ends that for clients.

    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self, site: BagSite, new_id: NewKindId, blocked_by: Callable[[], str | None]
    ) -> None:
        """`blocked_by` returns why nothing new may be stored now; None where it may."""
        super().__init__(site, new_id)
        self._blocked_by = blocked_by

    # --- for clients ---------------------------------------------------------------------------

    async def start(self, deployment: str, component: str, job: BagJobDefinition) -> BagJobView:
        """Records a job of a component (id, instance id or name; empty: the only one), and begins
        to start it.

        Raises DeploymentNotFoundError, DeploymentNotReadyError, InvalidBagJobError with all
        mistakes, BagJobExistsError, and StorageFullError while the disk is low.
        """
        why = self._blocked_by()
        if why is not None:
            raise StorageFullError(
                f"nothing is recorded now: {why}; free some space, and start the job again"
            )
        id_, now = self._new_id("bagjob"), self._site.clock.now()

        def work(tx: Transaction) -> BagJob:
            found = deployment_records.find(tx, deployment)
            if not found.wanted or not found.phase.started:
                raise DeploymentNotReadyError(
                    f"the deployment {found.id} is in the phase {found.phase.value}; start the job"
                    " when it is Succeeded"
                )
            deployed = _component(found, component)
            package = package_records.get(tx, found.package)
            plan = package.plan(found.plan_id)
            of_package = plan.component(deployed.id) if plan is not None else None
            assert of_package is not None, "a deployment has components of its package"
            checked, mistakes = bag_job(of_package, job, "job")
            if mistakes:
                raise InvalidBagJobError(*mistakes)
            records.add(tx, job_of(found, deployed, checked, id_, now))
            return records.get(tx, id_)

        async def begin() -> BagJob:
            added = await self._database.write(work)
            _log.info("bag job created", extra={"job": id_, "deployment": added.deployment})
            self._recorder(added)
            return added

        return self._view(await to_its_end(begin()))  # recorded is begun: the client may have gone

    async def stop(self, text: str) -> BagJobView:
        """Records that a job is to end, and begins to end it. Raises BagJobNotFoundError."""

        def work(tx: Transaction) -> BagJob:
            job = records.find(tx, text)
            records.set_unwanted(tx, job.id)
            return records.get(tx, job.id)

        async def begin() -> BagJob:
            job = await self._database.write(work)
            if job.id in self._live:
                self._live[job.id].stop()
            return job

        return self._view(await to_its_end(begin()))

    async def jobs(
        self, deployment: str = "", statuses: Collection[BagJobStatus] = ()
    ) -> Sequence[BagJobView]:
        """Returns the jobs that match, in the order of their creation. Empty: all.

        Raises DeploymentNotFoundError.
        """

        def read(tx: Transaction) -> Sequence[BagJob]:
            return records.listed(tx, _id_of(tx, deployment) if deployment else "")

        found = [self._view(job) for job in await self._database.read(read)]
        return [view for view in found if not statuses or view.status in statuses]

    async def job(self, text: str) -> BagJobView:
        """Returns a job by its id, or a unique left part. Raises BagJobNotFoundError."""
        return self._view(await self._database.read(lambda tx: records.find(tx, text)))

    async def update(
        self, text: str, upload: BagUpload | None, within: TimeRange | None
    ) -> BagJobView:
        """Changes when bags are stored, and stores those in a range of time.

        Raises BagJobNotFoundError, InvalidBagJobError, and StorageFullError if some could not be
        stored.
        """
        if within is not None and within.start > within.end:
            raise InvalidBagJobError(
                f"range: its start {within.start:g} is after its end {within.end:g}; swap them"
            )

        def work(tx: Transaction) -> BagJob:
            job = records.find(tx, text)
            changed = msgspec.structs.replace(
                job.definition, upload=upload or job.definition.upload
            )
            mistakes = find_mistakes(changed, "job")
            if mistakes:
                raise InvalidBagJobError(*mistakes)
            records.set_definition(tx, job.id, changed)
            return records.get(tx, job.id)

        async def begin() -> BagJob:
            job = await self._database.write(work)
            if job.id in self._live:
                self._live[job.id].change(job)
            return job

        job = await to_its_end(begin())
        everything = job.over is not None and job.definition.upload is not BagUpload.ON_DEMAND
        if within is not None or everything:
            within = None if everything else within
            await self._store.collect(job.id, ended=job.over is not None, within=within)
        if job.over is not None:
            await self._store.tidy(job.id)
        return self._view(job)

    async def bags(
        self, job: str = "", deployment: str = "", statuses: Collection[BagStatus] = ()
    ) -> Sequence[Bag]:
        """Returns the bags that match, in the order in which they were found. Empty: all.

        Raises BagJobNotFoundError and DeploymentNotFoundError.
        """

        def read(tx: Transaction) -> Sequence[Bag]:
            if job:
                found = records.bags(tx, records.find(tx, job).id)
            elif deployment:
                id_ = _id_of(tx, deployment)
                found = [b for j in records.listed(tx, id_) for b in records.bags(tx, j.id)]
            else:
                found = records.bags(tx)
            return [bag for bag in found if not statuses or bag.status in statuses]

        return await self._database.read(read)

    async def bag(self, text: str) -> Bag:
        """Returns a bag by its id, or a unique left part. Raises BagNotFoundError."""
        return await self._database.read(lambda tx: records.find_bag(tx, text))

    async def delete(self, text: str) -> Bag:
        """Deletes a bag with its content, and returns it.

        Raises BagNotFoundError, and BagNotReadyError while it is being stored.
        """
        bag = await self.bag(text)
        if bag.status is BagStatus.UPLOADING:
            raise BagNotReadyError(
                f"the bag {bag.id} is being stored; delete it when its status is Uploaded"
                f"{f' (it waits: {bag.reason})' if bag.reason else ''}"
            )
        await self._store.delete(bag)
        return bag

    # --- views ---------------------------------------------------------------------------------

    def _view(self, job: BagJob) -> BagJobView:
        recorder = self._live.get(job.id)
        if job.over is not None:
            return BagJobView(job=job, status=job.over, reason=job.reason)
        if recorder is None:  # it was read in the moment of its end
            status = BagJobStatus.STARTING if job.wanted else BagJobStatus.STOPPING
            return BagJobView(job=job, status=status, reason="its deployment")
        view = recorder.view()
        return BagJobView(job=job, status=view.status, reason=view.reason)


def _id_of(tx: Transaction, deployment: str) -> str:
    """Returns the id of a deployment, whose record may be dropped before those of its jobs.

    Raises DeploymentNotFoundError.
    """
    if is_id(deployment, "dep") and records.listed(tx, deployment):
        return deployment
    return deployment_records.find(tx, deployment).id


def _component(deployment: Deployment, text: str) -> DeployedComponent:
    """Returns a component of a deployment. Raises InvalidBagJobError."""
    components = deployment.plan.components
    fitting = [c for c in components if not text or text in (c.id, c.instance, c.name)]
    if len(fitting) != 1:
        names = ", ".join(f"{c.name} ({c.id})" for c in components)
        problem = "several components fit" if fitting else f"no component {text[:80]!r}"
        raise InvalidBagJobError(
            f"component: {problem} in the deployment {deployment.id}; name one of: {names}"
        )
    return fitting[0]
