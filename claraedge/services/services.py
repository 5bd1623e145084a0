"""What runs beside jobs, as the engine uses it: `acquire` before a job's first operator, `release`
after its last.

`companions.py` says who uses which container, `keeper.py` has the life of each. What Podman refuses
to remove now, and networks that still have containers on them, are seen to by `run`, until nothing
is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from claraedge.clock import Clock
from claraedge.config import Inference as InferenceSettings
from claraedge.config import Services as ServiceSettings
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
from claraedge.services.companion import Companion
from claraedge.services.companions import Companions, Present
from claraedge.services.inference.repository import ModelView, present
from claraedge.services.inference.server import LoadedModels
from claraedge.services.leasing import Leasing
from claraedge.services.memory import Kept, Memory
from claraedge.services.model import (
    GpuUse,
    Lease,
    gpus_of,
)
from claraedge.services.networks import JobNetworks
from claraedge.services.orphans import OrphanRecovery
from claraedge.services.workshop import Workshop

_log = logging.getLogger(__name__)

#: Seconds between two tries to remove what could not be removed.
_RETRY = 1.0
#: Seconds beyond the grace that a GPU is waited for.
_LAST = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What of the configuration is for what runs beside jobs."""

    services: ServiceSettings
    inference: InferenceSettings
    grace: float
    """Seconds between TERM and KILL."""
    profile: Profile
    """Says how much memory is kept where nothing is written."""
    unified: bool
    """GPU memory is system memory."""
    tmpfs_rule: TmpfsRule = TmpfsRule()  # noqa: RUF009 it is frozen


class Services:
    """`prepare` at start, then `run` until it is cancelled; containers outlive it."""

    def __init__(
        self,
        runner: Runner,
        images: Images,
        models: Models,
        clock: Clock,
        new_id: NewId,
        *,
        state: Path,
        instance: str,
        settings: Settings,
        gpus: Callable[[], tuple[str, ...]],
    ) -> None:
        """`gpus`: the CDI names of the device's GPUs now; it blocks."""
        folder = state / "services"
        self._wake = asyncio.Event()
        self.on_lost: Callable[[str, str], None] = lambda _job, _reason: None
        """Told (job, reason) when what a job uses is gone for good: its operators are to fail."""
        self.on_freed: Callable[[], None] = lambda: None
        """Told when one has ended: its memory and its GPU are free."""
        self._settings = settings
        self._view = ModelView(models, folder / "common" / "models", folder, new_id)
        served = folder / "inference"
        self._served = ModelView(models, served / "models", served, new_id)
        self._networks = JobNetworks(runner, instance, new_id)
        self._memory = Memory(
            profile=settings.profile,
            inference=settings.inference.memory,
            unified=settings.unified,
        )
        self._workshop = Workshop(
            runner, new_id, folder=folder, instance=instance, grace=settings.grace
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
                start=settings.inference.start_seconds,
                load=settings.inference.load_seconds,
                record=folder / "inference.json",
                expected=expected,
            ),
        )
        self._orphan_recovery = OrphanRecovery(
            self._companions, self._networks, self._workshop, self._memory, clock
        )
        self._workshop.on_left = self._left_behind
        self._workshop.why_unusable = images.why_unusable
        self._companions.on_change = self._changed
        self._companions.on_lost = self._lost
        self._leasing = Leasing(
            self._companions,
            self._networks,
            self._orphan_recovery,
            self._workshop,
            images,
            self._view,
            self._served,
            partial(present, models),
            self._memory,
            inference=settings.inference,
            tmpfs_rule=settings.tmpfs_rule,
            gpus=gpus,
        )
        self._leasing.on_change = self._wake.set
        self._models_changed = False

    # --- for the engine ------------------------------------------------------------------------

    async def prepare(self, running: Collection[str]) -> None:
        """At start: takes up what runs, removes what belongs to nothing. `running`: jobs that ran
        when the daemon ended; what they use is kept until each was acquired again or released.

        Where Podman does not answer, `run` and `acquire` try it again.
        """
        self._companions.expected = set(running)
        try:
            await self._orphan_recovery.take_up()
        except RunnerUnavailableError as error:
            _log.warning("services are looked for later", extra={"reason": str(error)})

    async def run(self) -> None:
        """Sees to what could not be done at once, until it is cancelled.

        Raises what a bug has raised in the life of a container.
        """
        try:
            while self._companions.failure is None:
                tidy = await self._tidied()
                try:
                    async with asyncio.timeout(None if tidy else _RETRY):
                        await self._wake.wait()
                except TimeoutError:
                    continue
                self._wake.clear()
            raise self._companions.failure
        finally:
            await self._companions.abandon()

    async def acquire(self, job: str, pipeline: Pipeline) -> Lease:
        """What the job's operators need runs, is healthy and has all models loaded; it stays so
        until `release`. Asked again, also after a restart, it answers the same.

        Waits for as long as other jobs keep the inference server full: call it while the job holds
        nothing else that others wait for. Cancelled, or where it fails, a job that had nothing has
        nothing. Raises ServiceError, ModelNotReadyError, NetworkError, ContainerError,
        ImageNotFoundError or ImagePullError: the job is to fail with that; and
        RunnerUnavailableError or StorageFullError: try it again later.
        """
        return await self._leasing.acquire(job, pipeline)

    async def release(self, job: str) -> None:
        """The job uses nothing any more, and no container of it will start. Never fails; what was
        the job's alone is removed soon. Cancel an `acquire` that still runs before.
        """
        self._models_changed |= self._companions.uses_models(job)  # it may have kept old ones
        self._leasing.let_go(job)

    async def stop(self) -> int:
        """Clara.Stop: each ends when the jobs that use it have; returns how many are to end."""
        return self._companions.stop()

    async def yield_gpu(self) -> bool:
        """Ends what holds a GPU and is used by no job; True where nothing beside jobs holds one
        then.
        """
        return await self._companions.yield_gpu(self._settings.grace + _LAST)

    def yield_memory(self, megabytes: int, wanted: Collection[str]) -> int:
        """Ends what is used by no job until so much memory is given back, those first that were not
        used for longest; `on_freed` tells when. `wanted`: keys of what somebody is about to use.

        Returns how much will be given back.
        """
        return self._companions.spare(megabytes, wanted)

    # --- to look at ----------------------------------------------------------------------------

    def memory_of(self, pipeline: Pipeline) -> Mapping[str, Kept]:
        """Key -> the memory that is kept for each that a job of the pipeline needs beside it."""
        return self._memory.of_pipeline(pipeline)

    def present(self) -> Sequence[Present]:
        """All that memory is kept for now."""
        return self._companions.present()

    def gpu_use(self) -> GpuUse:
        """Which GPUs the containers beside jobs have, and which jobs use those containers."""
        return self._companions.gpu_use()

    def want_gpu(self, pipeline: Pipeline) -> bool:
        """Whether what a pipeline needs beside its jobs asks for a GPU."""
        return any(
            (o.models and self._settings.inference.gpus) or any(gpus_of(s) for s in o.services)
            for o in pipeline.operators
        )

    def waits_for(self, job: str) -> str | None:
        """What `acquire` of a job waits for now, for people."""
        return self._leasing.waits.get(job)

    def trouble(self, job: str) -> str | None:
        """Why something that the job uses was started again meanwhile: an operator that failed may
        have failed of that.
        """
        told = [c.trouble for c in self._companions.living if job in c.users and c.trouble]
        return "; ".join(told) or None

    def count(self) -> int:
        """Containers that run beside jobs."""
        return sum(1 for c in self._companions.living if c.container is not None)

    def models_changed(self) -> None:
        """A model was stored or deleted: services are to see it, and the inference server to give
        back what is outdated.
        """
        self._models_changed = True
        self._wake.set()

    # --- what is left --------------------------------------------------------------------------

    async def _tidied(self) -> bool:
        """Whether nothing is left to do."""
        runs = self._companions.runs
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
        return self._orphan_recovery.done and self._networks.settled(runs)

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
        self._orphan_recovery.expected = True
        self._wake.set()

    def _changed(self) -> None:
        self._wake.set()
        self.on_freed()

    def _lost(self, companion: Companion, error: ClaraedgeError) -> None:
        for job in companion.users & self._leasing.leases.keys():
            self.on_lost(job, str(error))
