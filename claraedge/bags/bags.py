"""The bag jobs of this device, and their bags: start, stop, lists, and their lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from claraedge.bags import records
from claraedge.bags.model import Bag, BagJob, BagJobStatus, BagJobView, BagStatus, TimeRange
from claraedge.bags.recorder import BagRecorder, BagSite
from claraedge.blocking import in_thread, to_its_end
from claraedge.bugs import known
from claraedge.deployments import records as deployment_records
from claraedge.deployments.bag_planning import bag_job
from claraedge.deployments.model import DeployedComponent, Deployment
from claraedge.deployments.running.sidecars import ComponentPlace
from claraedge.errors import (
    BagNotReadyError,
    ClaraedgeError,
    DeploymentNotReadyError,
    InvalidBagJobError,
    RunnerUnavailableError,
    StorageFullError,
)
from claraedge.packages import records as package_records
from claraedge.packages.bag_jobs import BagJobDefinition, BagUpload, find_mistakes
from claraedge.packages.ids import NewKindId
from claraedge.runner.protocol import Container
from claraedge.store.database import Transaction
from claraedge.supervised.orphans import OrphanContainers
from claraedge.supervised.workshop import read_found
from claraedge.waiting.backoff import Backoff
from claraedge.waiting.patience import until_done
from claraedge.waiting.until import wait_set

_log = logging.getLogger(__name__)

_RETRY = 1.0
#: Pauses in seconds after an error of the database.
_PAUSES = (1.0, 60.0)


class Bags:
    """Records topics of deployments; implements `Sidecars` of deployments.

    Call `prepare` at start, then `run` until it is cancelled; containers keep recording after it.
    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self, site: BagSite, new_id: NewKindId, blocked_by: Callable[[], str | None]
    ) -> None:
        """`blocked_by` returns why nothing new may be stored now; None where it may."""
        self._site = site
        self._store = site.store
        self._database = site.store.database
        self._new_id = new_id
        self._blocked_by = blocked_by
        self._recorders: dict[str, BagRecorder] = {}
        self._places: dict[str, Mapping[str, ComponentPlace]] = {}
        """Id of a deployment that runs -> its components."""
        self._new: list[BagRecorder] = []
        self._changed: set[str] = set()
        """Deployments that may have jobs without a recorder."""
        self._wake = asyncio.Event()
        self._present: Mapping[str, Container] = {}
        self._taken_up = asyncio.Event()
        self._finished = False
        self._orphans = OrphanContainers(site.workshop, site.clock, self._known)

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
            records.add(tx, _made(found, deployed, checked, id_, now))
            return records.get(tx, id_)

        async def begin() -> BagJob:
            added = await self._database.write(work)
            _log.info("bag job created", extra={"job": id_, "deployment": added.deployment})
            if id_ not in self._recorders:  # its deployment may have begun it, since the commit
                self._begin(added)
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
            if job.id in self._recorders:
                self._recorders[job.id].stop()
            return job

        return self._view(await to_its_end(begin()))

    async def jobs(
        self, deployment: str = "", statuses: Collection[BagJobStatus] = ()
    ) -> Sequence[BagJobView]:
        """Returns the jobs that match, in the order of their creation. Empty: all.

        Raises DeploymentNotFoundError.
        """

        def read(tx: Transaction) -> Sequence[BagJob]:
            id_ = deployment_records.find(tx, deployment).id if deployment else ""
            return records.listed(tx, id_)

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
            if job.id in self._recorders:
                self._recorders[job.id].change(job)
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
                id_ = deployment_records.find(tx, deployment).id
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

    # --- for deployments -----------------------------------------------------------------------

    def added(self, tx: Transaction, deployment: Deployment) -> None:
        """Adds the jobs that start with a deployment."""
        for component in deployment.plan.components:
            for definition in component.bag_jobs:
                id_ = self._new_id("bagjob")
                job = _made(deployment, component, definition, id_, deployment.created)
                records.add(tx, job)

    def begun(self, deployment: str, places: Mapping[str, ComponentPlace]) -> None:
        """Starts the jobs of a deployment that runs."""
        self._places[deployment] = places
        self._changed.add(deployment)
        self._wake.set()

    async def end(self, deployment: str) -> None:
        """Ends the jobs of a deployment; returns once no container of them exists."""
        self._places.pop(deployment, None)
        await self._taken_up.wait()

        def work(tx: Transaction) -> Sequence[BagJob]:
            live = [job for job in records.listed(tx, deployment) if job.over is None]
            for job in live:
                records.set_unwanted(tx, job.id)
            return [records.get(tx, job.id) for job in live]

        pauses = Backoff(*_PAUSES)
        while True:
            try:
                jobs = await self._database.write(work)
                break
            except ClaraedgeError as error:
                extra = {"deployment": deployment, "reason": str(error)}
                _log.warning("bag jobs are ended later", extra=extra)
            await asyncio.sleep(pauses.next())
        ending = []
        for job in jobs:
            recorder = self._recorders.get(job.id) or self._begin(job)
            recorder.stop()
            ending.append(recorder)
        for recorder in ending:
            await recorder.silent.wait()

    # --- the lives -----------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Reads which jobs have not ended, and adopts their containers.

        If Podman does not answer, `run` does that.
        """
        try:
            await self._take_up()
        except RunnerUnavailableError as error:
            extra = {"reason": str(error)}
            _log.warning("the search for bag jobs is repeated later", extra=extra)

    async def run(self) -> None:
        """Keeps all jobs recording, until cancelled; raises what is a bug of its own."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                tidy = await self._tidied()
                if self._taken_up.is_set():
                    new, self._new = self._new, []
                    for recorder in new:
                        id_ = recorder.job.id
                        group.create_task(self._keep(recorder), name=f"bag job {id_}")
                await wait_set(self._wake, None if tidy else _RETRY)

    def expect_orphans(self) -> None:
        """Schedules a search for containers that nobody supervises."""
        self._orphans.expect()
        self._wake.set()

    def _begin(self, job: BagJob) -> BagRecorder:
        found = self._present.get(job.id)
        recorder = BagRecorder(self._site, job, None if found is None else read_found(found))
        self._recorders[job.id] = recorder
        self._put(recorder)
        self._new.append(recorder)
        self._wake.set()
        return recorder

    def _put(self, recorder: BagRecorder) -> None:
        """Gives a recorder its place, if its deployment runs."""
        places = self._places.get(recorder.job.deployment, {})
        if recorder.job.component in places:
            recorder.place(places[recorder.job.component])

    async def _keep(self, recorder: BagRecorder) -> None:
        """Controls one job until it has ended. A bug in it is that job's failure."""
        id_ = recorder.job.id

        async def attempt(failed: bool) -> None:
            if failed:
                await self._again(self._recorders[id_])
            await self._recorders[id_].run()

        await until_done(attempt, lambda error: known(error, "a bag job", job=id_))
        del self._recorders[id_]
        try:
            for dropped in await self._store.drop_old():
                await in_thread(partial(self._site.workshop.log_path(dropped).unlink, True))
        except ClaraedgeError as error:
            _log.debug("old bag jobs stay for now", extra={"reason": str(error)})

    async def _again(self, recorder: BagRecorder) -> None:
        """Puts a job whose life met an error in the state that a killed daemon leaves."""
        id_ = recorder.job.id
        job = await self._database.read(lambda tx: records.get(tx, id_))
        found = {self._key_of(c): c for c in await self._site.workshop.present()}.get(id_)
        again = BagRecorder(self._site, job, None if found is None else read_found(found))
        again.silent = recorder.silent
        self._recorders[id_] = again
        self._put(again)

    async def _tidied(self) -> bool:
        """Does what is outstanding; returns False if it has to be called again."""
        try:
            await self._take_up()
            await self._place_new()
            await self._orphans.remove_orphans()
            if not self._finished:
                await self._finish()
                self._finished = True
        except ClaraedgeError as error:
            _log.debug("tidying waits", extra={"reason": str(error)})
            return False
        return self._orphans.soonest() is None

    async def _take_up(self) -> None:
        if self._taken_up.is_set():
            return
        present = await self._site.workshop.present()
        self._present = {self._key_of(container): container for container in present}
        running = {d.id for d in await self._database.read(deployment_records.live)}
        for job in await self._database.read(records.live):
            if job.id not in self._recorders:
                recorder = self._begin(job)
                if job.deployment not in running:  # as after the database of a backup
                    recorder.stop()
        self._taken_up.set()
        self._present = {}
        self._orphans.expect()
        self._wake.set()

    async def _place_new(self) -> None:
        """Begins the jobs of deployments that run since the last call."""
        while self._changed:
            deployment = next(iter(self._changed))
            for job in await self._database.read(partial(records.listed, deployment=deployment)):
                recorder = self._recorders.get(job.id)
                if recorder is not None:
                    self._put(recorder)
                elif job.over is None:
                    self._begin(job)
            self._changed.discard(deployment)

    async def _finish(self) -> None:
        """Stores bags of ended jobs that a crash left on their way."""
        root = self._store.root
        for name in await in_thread(_names, root):
            if name not in self._recorders:
                await self._store.finish(name)

    def _known(self) -> Collection[str]:
        """Returns the ids and names of containers that some job has or creates."""
        return {word for recorder in self._recorders.values() for word in recorder.names()}

    def _key_of(self, container: Container) -> str:
        return self._site.workshop.key_of(container)

    def _view(self, job: BagJob) -> BagJobView:
        recorder = self._recorders.get(job.id)
        if job.over is not None:
            return BagJobView(job=job, status=job.over, reason=job.reason)
        if recorder is None:  # it was read in the moment of its end
            status = BagJobStatus.STARTING if job.wanted else BagJobStatus.STOPPING
            return BagJobView(job=job, status=status, reason="its deployment")
        view = recorder.view()
        return BagJobView(job=job, status=view.status, reason=view.reason)


def _names(root: Path) -> Sequence[str]:
    return sorted(path.name for path in root.iterdir()) if root.is_dir() else ()


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


def _made(
    deployment: Deployment,
    component: DeployedComponent,
    definition: BagJobDefinition,
    id_: str,
    now: float,
) -> BagJob:
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
