"""The leases of jobs on services and models, from the request to the release."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from claraedge.blocking import in_thread
from claraedge.config import InferenceSettings
from claraedge.errors import RunnerUnavailableError, StorageFullError
from claraedge.fs import files
from claraedge.images.images import Images
from claraedge.pipelines.model import Pipeline
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.services.companion import Companion
from claraedge.services.companions import Companions
from claraedge.services.deployed import DeployedServices
from claraedge.services.inference.composition import Stored, compose
from claraedge.services.inference.repository import ModelView
from claraedge.services.model import INFERENCE, Lease, Needs, Peer, needs
from claraedge.services.networks import JobNetworks
from claraedge.services.orphans import OrphanRecovery
from claraedge.services.recipes import of_inference, of_service
from claraedge.services.reservations import ReservationRules
from claraedge.supervised.recipe import Recipe
from claraedge.supervised.workshop import Workshop

#: Errors after which a job keeps the services that it had, and retries.
_LATER = (RunnerUnavailableError, StorageFullError, asyncio.CancelledError)


class Leasing:
    """Grants and releases the leases of all jobs."""

    def __init__(
        self,
        companions: Companions,
        deployed: DeployedServices,
        networks: JobNetworks,
        orphans: OrphanRecovery,
        workshop: Workshop,
        images: Images,
        view: ModelView,
        served: ModelView,
        present: Callable[[], Awaitable[Mapping[str, Stored]]],
        rules: ReservationRules,
        *,
        inference: InferenceSettings,
        tmpfs_rule: TmpfsRule,
        gpus: Callable[[], tuple[str, ...]],
        on_change: Callable[[], None],
    ) -> None:
        """`view`: the models as services see them; `served`: as the inference server sees them;
        `present` returns those of the repository; `gpus` returns the CDI names of the device's GPUs
        and may block. `on_change` is called when a job has released its lease.
        """
        self.leases: dict[str, Lease] = {}
        self.waits: dict[str, str] = {}
        """Job whose request waits -> what it waits for."""
        self._companions = companions
        self._deployed = deployed
        self._networks = networks
        self._orphan_recovery = orphans
        self._workshop = workshop
        self._images = images
        self._view = view
        self._served = served
        self._present = present
        self._rules = rules
        self._inference = inference
        self._tmpfs_rule = tmpfs_rule
        self._gpus = gpus
        self._on_change = on_change

    async def acquire(self, job: str, pipeline: Pipeline) -> Lease:
        """See `Services.acquire`."""
        wanted = needs(pipeline, self._inference.model_limit)
        if not wanted.keys and not wanted.deployed:
            self._came_back(job)
            return Lease(job=job)
        had = job in self.leases or job in self._companions.expected
        assert job not in self.waits, "one acquire of a job at a time"
        self.waits[job] = "its services"
        try:
            lease = await self._acquired(job, pipeline, wanted, had)
        except BaseException as error:
            if not (had and isinstance(error, _LATER)):
                self.let_go(job)
            raise
        finally:
            del self.waits[job]
        self.leases[job] = lease
        self._came_back(job)
        return lease

    def _came_back(self, job: str) -> None:
        self._companions.came_back(job)
        self._deployed.came_back(job)

    def let_go(self, job: str) -> None:
        """See `Services.release`."""
        self.leases.pop(job, None)
        self._companions.leave(job)
        self._deployed.leave(job)
        self._networks.give_back(job)
        self._on_change()

    async def _acquired(self, job: str, pipeline: Pipeline, wanted: Needs, had: bool) -> Lease:
        try:
            return await self._acquire(job, pipeline, wanted, had)
        except OSError as error:
            if not files.is_full(error):
                raise
            raise StorageFullError(
                f"{error.filename or 'the state folder'}: the disk is full; free some space"
                " there, then work continues"
            ) from error

    async def _acquire(self, job: str, pipeline: Pipeline, wanted: Needs, had: bool) -> Lease:
        await self._orphan_recovery.take_up()
        # First, while the job occupies nothing that a deployment may wait for.
        note = partial(self.waits.__setitem__, job)
        deployed = await self._deployed.up(job, wanted.deployed, note)
        lease = Lease(job=job)
        if wanted.keys:
            lease = await self._companions_for(job, pipeline, wanted, had)
        peers = await self._deployed.connect(job, deployed, note)
        return replace(lease, peers={**lease.peers, **peers})

    async def _companions_for(
        self, job: str, pipeline: Pipeline, wanted: Needs, had: bool
    ) -> Lease:
        await self._view.sync()
        if wanted.models:
            await self._served.ready()
            if not had:  # before any start; a job that ran has its models
                compose(wanted.models, await self._present(), self._inference.model_limit)
        recipes = await self._recipes(pipeline, wanted)
        used = {recipe.key: self._companions.use(job, recipe) for recipe in recipes}
        companions = {key: companion for key, (companion, _) in used.items()}
        self.waits[job] = "a private network"
        network = await self._networks.acquire(job, wanted.keys)
        places = network.addresses
        # All start at once; then each is awaited in turn.
        for key, companion in companions.items():
            companion.networks[network.name] = places[key]
            self._companions.begin(companion)
        for recipe in recipes:
            companion = companions[recipe.key]
            self.waits[job] = companion.name
            await companion.join(network.name, places[recipe.key])
            await companion.up()
            await companion.listens(places[recipe.key], set(recipe.ports))
        if wanted.models:
            await self._load(job, wanted.models, companions[INFERENCE])
        return Lease(
            job=job,
            network=network.name,
            triton=places.get(INFERENCE),
            triton_ports=(self._inference.http_port, self._inference.grpc_port),
            notes=tuple(note for _, notes in used.values() for note in notes),
            peers={r.key: _peer(r, network.name, places[r.key]) for r in recipes},
        )

    async def _load(self, job: str, names: Sequence[str], server: Companion) -> None:
        await server.up()
        await self._companions.models[server].acquire(
            job, names, server, partial(self.waits.__setitem__, job)
        )

    async def _recipes(self, pipeline: Pipeline, wanted: Needs) -> list[Recipe]:
        gpus = await in_thread(self._gpus)
        recipes = []
        for key, service in wanted.services.items():
            image = await self._images.ensure(
                service.own_container.reference, pipeline.pull_secrets
            )
            recipes.append(
                of_service(
                    key,
                    service,
                    image,
                    memory=self._rules.of_service(service).amount,
                    tmpfs=self._tmpfs_rule,
                    common=self._view.folder.parent,
                    volumes=self._workshop.volumes,
                    gpus=gpus,
                )
            )
        if wanted.models:
            image = await self._images.ensure(self._inference.image, pipeline.pull_secrets)
            recipes.append(
                of_inference(
                    self._inference,
                    image,
                    memory=self._rules.of_inference().amount,
                    models=self._served.folder,
                    gpus=gpus,
                )
            )
        return recipes


def _peer(recipe: Recipe, network: str, host: str) -> Peer:
    return Peer(
        host=host,
        network=network,
        port=recipe.first_port,
        folders={m.target: m.source for m in recipe.spec.mounts if not m.read_only},
    )
