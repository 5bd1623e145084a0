"""What runs beside jobs, as the engine uses it: `acquire` before a job's first operator, `release`
after its last.

Everything that decides who uses what happens in single steps of the loop; `companion.py` has the
life of each container. What Podman refuses to remove now, and networks that still have containers
on them, are seen to by `run`, until nothing is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge import files
from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.config import Inference as InferenceSettings
from claraedge.config import Services as ServiceSettings
from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    ModelNotReadyError,
    RunnerUnavailableError,
    StorageFullError,
)
from claraedge.ids import NewId
from claraedge.images.images import Images
from claraedge.models.models import Models
from claraedge.pipelines.model import Pipeline
from claraedge.runner.protocol import (
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_SERVICE,
    LABEL_SERVICE_NAME,
    LABEL_SERVICES,
    Container,
    Network,
    Phase,
    Runner,
)
from claraedge.services.companion import LABEL_GPUS, LABEL_RECIPE, Companion, Limits, empty
from claraedge.services.inference import LoadedModels
from claraedge.services.model import (
    INFERENCE,
    GpuUse,
    Lease,
    Needs,
    Peer,
    addresses,
    needs,
)
from claraedge.services.networks import JobNetworks, peers
from claraedge.services.recipes import Recipe, of_inference, of_service
from claraedge.services.repository import ModelView, Version

_log = logging.getLogger(__name__)

#: Seconds between two tries to remove what could not be removed.
_RETRY = 1.0
#: What takes nothing from a job that had its services before: it asks again.
_LATER = (RunnerUnavailableError, StorageFullError, asyncio.CancelledError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What of the configuration is for what runs beside jobs."""

    services: ServiceSettings
    inference: InferenceSettings
    grace: float
    """Seconds between TERM and KILL."""


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
        self.runner = runner
        self.clock = clock
        self.new_id = new_id
        self.instance = instance
        self.logs = folder / "logs"
        self.volumes = folder / "volumes"
        self.grace = settings.grace
        self.on_lost: Callable[[str, str], None] = lambda _job, _reason: None
        """Told (job, reason) when what a job uses is gone for good: its operators are to fail."""
        self._images = images
        self._settings = settings
        self._gpus = gpus
        self._view = ModelView(models, folder, new_id)
        self._networks = JobNetworks(runner, instance, new_id)
        self._inference = settings.inference
        self._record = folder / "inference.json"
        self._models: dict[Companion, LoadedModels] = {}
        """Of the inference server, and of one that is ending before it."""
        self._companions: dict[str, Companion] = {}
        """Key -> the one that new users get."""
        self._living: set[Companion] = set()
        """Those and the ones that are ending."""
        self._leases: dict[str, Lease] = {}
        self._acquiring: dict[str, str] = {}
        """Job -> what it waits for."""
        self._expected: set[str] = set()
        """Jobs that ran before this start and have not come back yet."""
        self._recovered = False
        self._recovering = asyncio.Lock()
        self._strays = False
        self._models_changed = False
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None

    # --- for the engine ------------------------------------------------------------------------

    async def prepare(self, running: Collection[str]) -> None:
        """At start: takes up what runs, removes what belongs to nothing. `running`: jobs that ran
        when the daemon ended; what they use is kept until each was acquired again or released.

        Where Podman does not answer, `run` and `acquire` try it again.
        """
        self._expected = set(running)
        try:
            await self._recover()
        except RunnerUnavailableError as error:
            _log.warning("services are looked for later", extra={"reason": str(error)})

    async def run(self) -> None:
        """Sees to what could not be done at once, until it is cancelled.

        Raises what a bug has raised in the life of a container.
        """
        try:
            while self._failure is None:
                tidy = await self._tidied()
                try:
                    async with asyncio.timeout(None if tidy else _RETRY):
                        await self._wake.wait()
                except TimeoutError:
                    continue
                self._wake.clear()
            raise self._failure
        finally:
            tasks = [c.task for c in self._living if c.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def acquire(self, job: str, pipeline: Pipeline) -> Lease:
        """What the job's operators need runs, is healthy and has all models loaded; it stays so
        until `release`. Asked again, also after a restart, it answers the same.

        Waits for as long as other jobs keep the inference server full: call it while the job holds
        nothing else that others wait for. Cancelled, or where it fails, a job that had nothing has
        nothing. Raises ServiceError, ModelNotReadyError, NetworkError, ContainerError,
        ImageNotFoundError or ImagePullError: the job is to fail with that; and
        RunnerUnavailableError or StorageFullError: try it again later.
        """
        wanted = needs(pipeline, self._inference.model_limit)
        if not wanted.keys:
            self._came_back(job)
            return Lease(job=job)
        had = job in self._leases or job in self._expected
        assert job not in self._acquiring, "one acquire of a job at a time"
        self._acquiring[job] = "its services"
        try:
            lease = await self._acquired(job, pipeline, wanted)
        except BaseException as error:
            if not (had and isinstance(error, _LATER)):
                self._let_go(job)
            raise
        finally:
            del self._acquiring[job]
        self._leases[job] = lease
        self._came_back(job)
        return lease

    async def release(self, job: str) -> None:
        """The job uses nothing any more, and no container of it will start. Never fails; what was
        the job's alone is removed soon. Cancel an `acquire` that still runs before.
        """
        self._let_go(job)

    async def stop(self) -> int:
        """Clara.Stop: each ends when the jobs that use it have; returns how many are to end."""
        stopped = [c for c in self._living if c.task is not None and not c.asked and not c.closed]
        for companion in stopped:
            companion.ask()
        return len(stopped)

    async def yield_gpu(self) -> bool:
        """Ends what holds a GPU and is used by no job; True where nothing beside jobs holds one
        then.
        """
        holders = [c for c in self._living if c.gpus]
        for companion in holders:
            if not companion.users:
                companion.ask()
        ending = [c.task for c in holders if not c.users and c.task is not None]
        if ending and not self.awaited():
            await asyncio.wait(ending, timeout=self.grace + 30)
        return not any(c.gpus for c in self._living)

    # --- to look at ----------------------------------------------------------------------------

    def gpu_use(self) -> GpuUse:
        """Which GPUs the containers beside jobs have, and which jobs use those containers."""
        holders = [c for c in self._living if c.gpus]
        return GpuUse(
            gpus=frozenset(gpu for c in holders for gpu in c.gpus),
            jobs=frozenset(job for c in holders for job in c.users),
        )

    def want_gpu(self, pipeline: Pipeline) -> bool:
        """Whether what a pipeline needs beside its jobs asks for a GPU."""
        return any(
            (o.models and self._inference.gpus) or any(s.requests.gpu for s in o.services)
            for o in pipeline.operators
        )

    def waits_for(self, job: str) -> str | None:
        """What `acquire` of a job waits for now, for people."""
        return self._acquiring.get(job)

    def trouble(self, job: str) -> str | None:
        """Why something that the job uses was started again meanwhile: an operator that failed may
        have failed of that.
        """
        told = [c.trouble for c in self._living if job in c.users and c.trouble]
        return "; ".join(told) or None

    def count(self) -> int:
        """Containers that run beside jobs."""
        return sum(1 for c in self._living if c.container is not None)

    def models_changed(self) -> None:
        """A model was stored or deleted: running services are to see it."""
        self._models_changed = True
        self._wake.set()

    # --- acquiring -----------------------------------------------------------------------------

    async def _acquired(self, job: str, pipeline: Pipeline, wanted: Needs) -> Lease:
        try:
            return await self._acquire(job, pipeline, wanted)
        except OSError as error:
            if not files.is_full(error):
                raise
            raise StorageFullError(
                f"{error.filename or 'the state folder'}: the disk is full; free some space and"
                " work goes on"
            ) from error

    async def _acquire(self, job: str, pipeline: Pipeline, wanted: Needs) -> Lease:
        await self._recover()
        shown = await self._view.sync()
        versions = _present(wanted.models, shown)
        recipes = await self._recipes(pipeline, wanted)
        used = {recipe.key: self._use(job, recipe) for recipe in recipes}
        companions = {key: companion for key, (companion, _) in used.items()}
        self._acquiring[job] = "a private network"
        network = await self._networks.take(job, wanted.keys)
        places = network.addresses
        # All begin at once: each is then waited for in turn.
        for key, companion in companions.items():
            companion.networks[network.name] = places[key]
            companion.begin()
        for recipe in recipes:
            companion = companions[recipe.key]
            self._acquiring[job] = companion.name
            await companion.join(network.name, places[recipe.key])
            await companion.up()
            await companion.listens(places[recipe.key], set(recipe.ports))
        if versions:
            await self._load(job, versions, companions[INFERENCE])
        return Lease(
            job=job,
            network=network.name,
            triton=places.get(INFERENCE),
            triton_ports=(self._inference.http_port, self._inference.grpc_port),
            notes=tuple(note for _, notes in used.values() for note in notes),
            peers={
                recipe.key: Peer(
                    host=places[recipe.key],
                    port=recipe.first_port,
                    folders={
                        mount.target: mount.source
                        for mount in recipe.spec.mounts
                        if not mount.read_only
                    },
                )
                for recipe in recipes
            },
        )

    async def _load(self, job: str, versions: dict[str, Version], server: Companion) -> None:
        await server.up()
        models = self._models[server]
        waits = "room for its models" if models.short_of(job, versions) else "its models"
        self._acquiring[job] = f"{waits} in the inference server"
        await models.hold(job, versions, server)

    async def _recipes(self, pipeline: Pipeline, wanted: Needs) -> list[Recipe]:
        gpus = await in_thread(self._gpus)
        recipes = []
        for key, service in wanted.services.items():
            image = await self._images.ensure(service.container.reference, pipeline.pull_secrets)
            recipes.append(
                of_service(
                    key,
                    service,
                    image,
                    common=self._view.common,
                    volumes=self.volumes,
                    gpus=gpus,
                )
            )
        if wanted.models:
            image = await self._images.ensure(self._inference.image, pipeline.pull_secrets)
            recipes.append(
                of_inference(self._inference, image, models=self._view.models, gpus=gpus)
            )
        return recipes

    def _use(self, job: str, recipe: Recipe) -> tuple[Companion, list[str]]:
        """Makes the job a user of the companion of a recipe; with what its messages should say.

        Decided without an await: the companion cannot end in between.
        """
        found = self._companion(job, recipe)
        found.users.add(job)
        if found.recipe is None:
            found.recipe, found.name = recipe, recipe.name
        found.ports |= set(recipe.ports)
        found.tell()
        if found.digest == recipe.digest:
            return found, []
        note = (
            f"{recipe.name} runs already, from another image or with other variables and requests"
            " than this job's definition says; it is shared as it is"
        )
        return found, [note]

    def _companion(self, job: str, recipe: Recipe) -> Companion:
        """The one that the job has, or shares from now on, or a new one."""
        same = [c for c in self._living if c.key == recipe.key]
        for companion in same:
            if job in companion.users and not companion.closed:
                return companion
        present = self._companions.get(recipe.key)
        if present is not None:
            free = not present.users and not self._expected
            outdated = present.digest != recipe.digest and free
            if not (present.asked and job not in self._expected) and not outdated:
                return present
            present.ask()  # the new one is made once it has ended
            del self._companions[recipe.key]
        return self._add(
            recipe.key,
            recipe.name,
            recipe=recipe,
            after=tuple(c.task for c in same if c.task is not None),
        )

    def _add(
        self,
        key: str,
        name: str,
        *,
        recipe: Recipe | None = None,
        after: tuple[asyncio.Task[None], ...] = (),
        container: str | None = None,
        digest: str = "",
        gpus: tuple[str, ...] = (),
    ) -> Companion:
        models = None
        settings: ServiceSettings | InferenceSettings = self._settings.services
        if key == INFERENCE:
            settings = self._inference
            models = LoadedModels(
                self.runner,
                port=self._inference.http_port,
                limit=self._inference.model_limit,
                start=self._inference.start_seconds,
                load=self._inference.load_seconds,
                record=self._record,
            )
        companion = Companion(
            self,
            key,
            name,
            Limits(
                idle=settings.idle_seconds,
                start=settings.start_seconds,
                restarts=settings.restarts,
            ),
            recipe=recipe,
            fit=models.fit if models else None,
            after=after,
            container=container,
            digest=digest,
            gpus=gpus,
        )
        if models is not None:
            self._models[companion] = models
        self._companions[key] = companion
        self._living.add(companion)
        return companion

    def _let_go(self, job: str) -> None:
        self._leases.pop(job, None)
        for models in self._models.values():
            models.drop(job)
        for companion in list(self._living):
            companion.leave(job)
            if companion.task is None and not companion.users:  # nothing was made of it yet
                self.closing(companion)
                self._forget(companion)
        self._networks.give_back(job)
        self._came_back(job)
        self._wake.set()

    def _came_back(self, job: str) -> None:
        if job in self._expected:
            self._expected.discard(job)
            if not self._expected:
                for companion in self._living:
                    companion.tell()

    def _forget(self, companion: Companion) -> None:
        self._living.discard(companion)
        self._models.pop(companion, None)
        self._wake.set()

    # --- what companions report ----------------------------------------------------------------

    def awaited(self) -> bool:
        return bool(self._expected)

    def closing(self, companion: Companion) -> None:
        if self._companions.get(companion.key) is companion:
            del self._companions[companion.key]

    def ended(self, companion: Companion, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
        self._forget(companion)

    def lost(self, companion: Companion, error: ClaraedgeError) -> None:
        for job in companion.users & self._leases.keys():
            self.on_lost(job, str(error))

    def left_behind(self) -> None:
        self._strays = True
        self._wake.set()

    # --- after a break, and what is left -------------------------------------------------------

    async def _recover(self) -> None:
        """Compares what is there with what is known; once, where Podman answers."""
        async with self._recovering:
            if self._recovered:
                return
            networks = {n.name: n for n in await self.runner.networks(self._own)}
            occupants = await self._occupants()
            adopted = {c.container for c in self._living}
            for container in await self.runner.containers({LABEL_SERVICES: self.instance}):
                key = container.labels.get(LABEL_SERVICE, "")
                usable = container.phase is Phase.RUNNING and key not in self._companions
                if usable and container.id not in adopted:
                    self._adopt(container, key, networks)
                elif container.id not in adopted:
                    await self._remove(container)
            for network in networks.values():
                jobs = occupants.get(network.name, set())
                self._networks.adopt(network, jobs, self._expected)
            await self._empty_volumes()
            self._recovered = True
            self._wake.set()
            _log.info(
                "services taken up",
                extra={"services": len(self._living), "networks": len(networks)},
            )

    def _adopt(self, container: Container, key: str, networks: Mapping[str, Network]) -> None:
        name = container.labels.get(LABEL_SERVICE_NAME, key)
        digest = container.labels.get(LABEL_RECIPE, "")
        gpus = tuple(gpu for gpu in container.labels.get(LABEL_GPUS, "").split(",") if gpu)
        companion = self._add(key, name, container=container.id, digest=digest, gpus=gpus)
        for network in (networks[name] for name in container.networks if name in networks):
            keys = peers(network)
            if network.subnet is not None and key in keys:
                companion.networks[network.name] = addresses(network.subnet, keys)[key]
        companion.begin()
        _log.info("service adopted", extra={"service": name, "container": container.id[:12]})

    async def _empty_volumes(self) -> None:
        """Folders of services that a break ended."""
        runs = {c.key for c in self._living}
        names = await in_thread(_names, self.volumes)
        for name in names - runs:
            try:
                await empty(self.runner, self.volumes / name)
            except (OSError, ContainerError) as error:
                _log.warning("shared folder left behind", extra={"reason": str(error)})

    async def _tidied(self) -> bool:
        """Whether nothing is left to do."""
        try:
            await self._recover()
            if self._strays:
                await self._remove_strays()
            if self._models_changed:
                await self._show_models()
            if self._networks.unused:
                occupied = await self._occupants()
                await self._networks.tidy(self._runs, occupied)
        except (ClaraedgeError, OSError) as error:
            _log.debug("tidying waits", extra={"reason": str(error)})
            return False
        return not self._strays and self._networks.settled(self._runs)

    async def _show_models(self) -> None:
        self._models_changed = False
        try:
            if self._living:
                await self._view.sync()
        except BaseException:
            self._models_changed = True
            raise

    def _runs(self, key: str) -> bool:
        return any(c.key == key for c in self._living)

    async def _occupants(self) -> dict[str, set[str]]:
        """Network -> jobs whose operators' containers are on it."""
        found: dict[str, set[str]] = {}
        for container in await self.runner.containers(self._own):
            for network in container.networks:
                found.setdefault(network, set()).add(container.labels.get(LABEL_JOB, ""))
        return found

    async def _remove_strays(self) -> None:
        self._strays = False
        for container in await self.runner.containers({LABEL_SERVICES: self.instance}):
            known = {c.container for c in self._living} | {c.making for c in self._living}
            if container.id not in known and container.name not in known:
                await self._remove(container)

    async def _remove(self, container: Container) -> None:
        try:
            await self.runner.remove(container.id)
        except ContainerError as error:
            self._strays = True
            _log.warning("container of a service left behind", extra={"reason": str(error)})
        else:
            _log.info("service removed", extra={"container": container.id[:12]})

    @property
    def _own(self) -> dict[str, str]:
        return {LABEL_INSTANCE: self.instance}


def _present(names: Sequence[str], shown: Mapping[str, Version]) -> dict[str, Version]:
    missing = [name for name in names if name not in shown]
    if missing:
        raise ModelNotReadyError(
            *(
                f"the repository has no model {name}; `claraedge list models` shows those there"
                " are, `claraedge create model` adds one"
                for name in missing
            )
        )
    return {name: shown[name] for name in names}


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
