"""Services and models of jobs: `acquire` before a job's first operator, `release` after its last.

`companions.py` tracks who uses which container, a `Keeper` controls the life of each. `run`
retries until nothing remains of what Podman refuses to remove now, and of networks that still have
containers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from claraedge.clock import Clock
from claraedge.config import InferenceSettings, ServicesSettings
from claraedge.deployments.serving import ServingDeployments
from claraedge.errors import (
    ClaraedgeError,
    RunnerUnavailableError,
)
from claraedge.ids import NewId
from claraedge.images.images import Images
from claraedge.models.models import Models
from claraedge.pipelines.model import Pipeline
from claraedge.pipelines.requests import Profile
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.runner.protocol import Runner
from claraedge.services.companion import SERVICES, Companion
from claraedge.services.companions import Companions
from claraedge.services.deployed import DeployedServices
from claraedge.services.inference.repository import ModelView, present
from claraedge.services.inference.server import LoadedModels
from claraedge.services.leasing import Leasing
from claraedge.services.model import CompanionUsage, Lease, deployments_of
from claraedge.services.networks import JobNetworks
from claraedge.services.orphans import OrphanRecovery
from claraedge.services.reservations import CompanionReservation, ReservationRules
from claraedge.supervised.workshop import Workshop
from claraedge.waiting.until import wait_set

_log = logging.getLogger(__name__)

#: Seconds between two attempts to remove remains.
_RETRY = 1.0
#: Seconds, in addition to the grace, for which a GPU is waited for.
_LAST = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionSettings:
    """The part of the configuration that concerns services and the inference server."""

    services: ServicesSettings
    inference: InferenceSettings
    grace: float
    """Seconds between TERM and KILL."""
    profile: Profile
    """Determines the reserved memory if none is stated."""
    unified: bool
    """Whether GPU memory is part of the system memory."""
    tmpfs_rule: TmpfsRule = TmpfsRule()  # noqa: RUF009 it is frozen


class Services:
    """Provides services and models to jobs.

    Call `prepare` at start, then `run` until it is cancelled; the containers keep running after it.
    """

    def __init__(
        self,
        runner: Runner,
        images: Images,
        models: Models,
        deployments: ServingDeployments,
        clock: Clock,
        new_id: NewId,
        *,
        state: Path,
        instance: str,
        settings: CompanionSettings,
        gpus: Callable[[], tuple[str, ...]],
        on_lost: Callable[[str, str], None],
        on_freed: Callable[[], None],
    ) -> None:
        """`gpus` returns the CDI names of the device's GPUs; it may block.

        `on_lost` is called with (job, reason) when a service is lost for good: the job has to fail.
        `on_freed` is called when a container has ended: its memory and its GPU are free.
        """
        folder = state / "services"
        self._wake = asyncio.Event()
        self._on_lost = on_lost
        self._on_freed = on_freed
        self._settings = settings
        self._deployments = deployments
        deployments.listen(self._deployments_changed)
        self._view = ModelView(models, folder / "common" / "models", folder, new_id)
        served = folder / "inference"
        self._served = ModelView(models, served / "models", served, new_id)
        self._networks = JobNetworks(runner, instance, new_id)
        self._rules = ReservationRules(
            profile=settings.profile,
            inference=settings.inference.memory,
            inference_gpus=settings.inference.gpus,
            unified=settings.unified,
        )
        self._workshop = Workshop(
            runner,
            new_id,
            kind=SERVICES,
            folder=folder,
            instance=instance,
            grace=settings.grace,
            why_unusable=images.why_unusable,
            on_left=self._left_behind,
        )
        self._companions = Companions(
            self._workshop,
            clock,
            services=settings.services,
            inference=settings.inference,
            loads=lambda expected: LoadedModels(
                runner,
                self._served,
                partial(present, models),
                port=settings.inference.http_port,
                limit=settings.inference.model_limit,
                load=settings.inference.load_seconds,
                record=folder / "inference.json",
                expected=expected,
            ),
            on_change=self._changed,
            on_lost=self._lost,
        )
        self._orphan_recovery = OrphanRecovery(
            self._companions, self._networks, self._workshop, self._rules, clock
        )
        self._leasing = Leasing(
            self._companions,
            DeployedServices(
                deployments, self._networks, settings.services.start_seconds, self._lost_deployment
            ),
            self._networks,
            self._orphan_recovery,
            self._workshop,
            images,
            self._view,
            self._served,
            partial(present, models),
            self._rules,
            inference=settings.inference,
            tmpfs_rule=settings.tmpfs_rule,
            gpus=gpus,
            on_change=self._wake.set,
        )
        self._models_changed = False

    @property
    def restarts(self) -> int:
        """Containers that ended by themselves and were started again, since this start."""
        return self._companions.restarts

    # --- for the engine ------------------------------------------------------------------------

    async def prepare(self, running: Mapping[str, Pipeline]) -> None:
        """Adopts running containers at start, and removes orphans.

        `running`: the jobs that ran when the daemon ended, with their pipelines; what they use is
        kept until each of them calls `acquire` or `release`. If Podman does not answer, `run` and
        `acquire` retry.
        """
        self._companions.expected = set(running)
        uses = {job: deployments_of(pipeline) for job, pipeline in running.items()}
        self._deployments.expect({job: names for job, names in uses.items() if names})
        try:
            await self._orphan_recovery.take_up()
        except RunnerUnavailableError as error:
            _log.warning("the search for services is repeated later", extra={"reason": str(error)})

    async def run(self) -> None:
        """Does the work that could not be done at once, until cancelled.

        Raises the unexpected exception of a keeper.
        """
        try:
            while self._companions.failure is None:
                tidy = await self._tidied()
                await wait_set(self._wake, None if tidy else _RETRY)
                self._wake.clear()
            raise self._companions.failure
        finally:
            await self._companions.abandon()

    async def acquire(self, job: str, pipeline: Pipeline) -> Lease:
        """Provides what the job's operators need: services that are healthy, and loaded models.

        They stay available until `release`. A repeated call, also after a restart, returns the same
        lease. It waits while other jobs occupy the inference server: call it while the job occupies
        nothing that others wait for. If it is cancelled or fails, a job that had nothing has
        nothing.

        Raises ServiceError, ModelNotReadyError, NetworkError, ContainerError, ImageNotFoundError or
        ImagePullError, with which the job has to fail; and RunnerUnavailableError or
        StorageFullError: try again later.
        """
        return await self._leasing.acquire(job, pipeline)

    async def release(self, job: str) -> None:
        """Releases the lease of a job, of which no container will start any more.

        Never fails; what only this job used is removed soon. Cancel a running `acquire` first.
        """
        self._models_changed |= self._companions.uses_models(job)  # perhaps of outdated versions
        self._leasing.let_go(job)

    async def stop(self) -> int:
        """Implements Clara.Stop: each ends after its users; returns how many are to end."""
        return self._companions.stop()

    async def yield_gpu(self) -> bool:
        """Ends unused containers that have a GPU, and waits for that.

        Returns True if no service or inference server has a GPU then.
        """
        return await self._companions.yield_gpu(self._settings.grace + _LAST)

    def ask_for_gpus(self) -> None:
        """Makes unused containers that have a GPU end; `on_freed` is called when it is free."""
        self._companions.ask_for_gpus()

    def yield_memory(self, megabytes: int, wanted: Collection[str]) -> int:
        """Ends unused containers until `megabytes` are released, the least recently used first.

        `on_freed` is called when memory is free. `wanted`: keys of those that are about to be used.
        Returns the megabytes that will be released.
        """
        return self._companions.spare(megabytes, wanted)

    # --- to inspect ----------------------------------------------------------------------------

    def reservations(self, pipeline: Pipeline) -> Mapping[str, CompanionReservation]:
        """Returns, per key, the reservation of each container that a job of the pipeline needs."""
        return self._rules.of_pipeline(pipeline)

    def usage(self) -> CompanionUsage:
        """Returns what all of these containers occupy now."""
        return self._companions.usage()

    def awaited(self, pipeline: Pipeline) -> Mapping[str, str]:
        """Returns the deployments that a job of the pipeline waits for before it begins, so that it
        occupies nothing meanwhile: name or id -> what it waits for, as text.
        """
        texts = {name: self._deployments.awaited(name) for name in deployments_of(pipeline)}
        return {name: text for name, text in sorted(texts.items()) if text is not None}

    def waits_for(self, job: str) -> str | None:
        """Returns what `acquire` of a job waits for now, as text; None: nothing."""
        return self._leasing.waits.get(job)

    def trouble(self, job: str) -> str | None:
        """Returns why a service of the job was restarted, or None.

        An operator that failed may have failed because of that.
        """
        found = [c.reason for c in self._companions.living if job in c.users and c.reason]
        found += [text] if (text := self._deployments.trouble(job)) else []
        return "; ".join(found) or None

    def count(self) -> int:
        """Returns the number of these containers that run."""
        return sum(1 for c in self._companions.living if c.container is not None)

    def models_changed(self) -> None:
        """Schedules the update of services and inference server after a change of models."""
        self._models_changed = True
        self._wake.set()

    # --- what is left --------------------------------------------------------------------------

    async def _tidied(self) -> bool:
        """Does the outstanding work; returns whether nothing is left to do."""
        runs = self._runs
        try:
            await self._orphan_recovery.take_up()
            await self._orphan_recovery.remove_orphans()
            if self._models_changed and not await self._show_models():
                return False
            if self._networks.unused:
                await self._networks.tidy(runs, await self._orphan_recovery.occupants())
        except (ClaraedgeError, OSError) as error:
            _log.debug("tidying waits", extra={"reason": str(error)})
            return False
        return self._orphan_recovery.soonest() is None and self._networks.settled(runs)

    async def _show_models(self) -> bool:
        self._models_changed = False
        done = True
        try:
            await self._view.sync(adds=bool(self._companions.living))
            if self._companions.models:
                done = await self._companions.tidy_models()
            else:
                await self._served.show({})
        except BaseException:
            self._models_changed = True
            raise
        self._models_changed |= not done
        return done

    def _left_behind(self) -> None:
        self._orphan_recovery.expect()
        self._wake.set()

    def _changed(self) -> None:
        self._wake.set()
        self._on_freed()

    def _runs(self, key: str) -> bool:
        return self._companions.runs(key) or self._deployments.has(key)

    def _deployments_changed(self) -> None:
        if self._networks.unused:  # their deployment may have ended
            self._wake.set()
        self._on_freed()

    def _lost_deployment(self, job: str, reason: str) -> None:
        if job in self._leasing.leases:
            self._on_lost(job, reason)

    def _lost(self, companion: Companion, error: ClaraedgeError) -> None:
        for job in companion.users & self._leasing.leases.keys():
            self._on_lost(job, str(error))
