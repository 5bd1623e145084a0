"""The life of one private network, with its ROS master, from its creation to its removal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from claraedge.clock import Clock
from claraedge.deployments.model import DeploymentPhase, DeploymentStatus
from claraedge.deployments.networks.model import PrivateNetwork
from claraedge.deployments.rules import RULES
from claraedge.errors import (
    ClaraedgeError,
    NetworkMasterError,
    NetworkNotFoundError,
)
from claraedge.images.images import Images
from claraedge.runner.protocol import (
    LABEL_NETWORK,
    LABEL_NETWORKS,
    Container,
    ContainerSpec,
    Network,
)
from claraedge.supervised.addresses import address
from claraedge.supervised.allocations import Allocations, Claim
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.keeper import Keeper
from claraedge.supervised.owner import QuietOwner, close_after_bug
from claraedge.supervised.recipe import UNNAMED, Recipe
from claraedge.supervised.workshop import Workshop, read_found
from claraedge.waiting.patience import patiently, while_wanted

_log = logging.getLogger(__name__)

#: The port of ROS masters.
PORT = 11311
#: Place of the ROS master among the addresses of its network.
_MASTER = 0
#: Seconds until a ROS master has to accept connections after its start.
_START = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSite:
    """The parts of the daemon that private networks use."""

    workshop: Workshop
    images: Images
    allocations: Allocations
    clock: Clock
    ros_images: Mapping[str, str]
    """ROS distribution -> name of the image with its master."""
    outside: bool
    """Whether containers reach what this machine reaches, as on the networks of deployments: only
    networks of the same sort are closed to each other."""
    memory: int
    """Megabytes that are reserved for a ROS master."""


class LiveNetwork:
    """A network that exists, or is being created or removed."""

    def __init__(self, site: NetworkSite, network: PrivateNetwork) -> None:
        self.network = network
        self.waits_for = ""
        """What it waits for now, as text; empty: nothing."""
        self.failure: ClaraedgeError | None = None
        """Why its ROS master does not run, and is not started again."""
        self.subnet = ""
        """Its IPv4 addresses; empty: not known yet."""
        self.unlike = False
        """Whether it reaches more or less than is set now: a network keeps that."""
        self._site = site
        self._present: Container | None = None
        self._master: SupervisedContainer | None = None
        self._image = ""
        self._exists = False
        self._changed = asyncio.Event()
        self._news = asyncio.Event()

    # --- for others ----------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of the network."""
        return self.network.id

    @property
    def name(self) -> str:
        """The name of the network in Podman."""
        return f"claraedge-{self.id}"

    @property
    def image(self) -> str:
        """The name of the image of its ROS master; empty: it has none."""
        return self._site.ros_images.get(self.network.given.distro, "")

    @property
    def master(self) -> str:
        """The value of ROS_MASTER_URI on it; empty: it has no ROS master, or no addresses yet."""
        if not self.image or not self.subnet:
            return ""
        return f"http://{address(self.subnet, _MASTER)}:{PORT}"

    @property
    def phase(self) -> DeploymentPhase:
        """Its phase, in the words of deployments."""
        if not self.network.wanted:
            return DeploymentPhase.PARTIALLY_DEPROVISIONED
        if self._exists:
            return DeploymentPhase.SUCCEEDED
        if self.failure is not None:
            return DeploymentPhase.FAILED_TO_START
        return DeploymentPhase.PROVISIONING if self.waits_for else DeploymentPhase.IN_PROGRESS

    @property
    def status(self) -> DeploymentStatus:
        """How it is at this moment."""
        if self.failure is not None:
            return DeploymentStatus.ERROR
        if not self._exists or not (self._master is None or self._master.fit):
            return DeploymentStatus.PENDING
        return DeploymentStatus.RUNNING

    def names(self) -> set[str]:
        """Returns the ids and names of its containers, and of those that are being created."""
        master = self._master
        found = {self._present.id if self._present else None}
        found |= {master.container, master.making} if master is not None else set()
        return {word for word in found if word}

    def delete(self) -> None:
        """Makes it end. Call after that was recorded."""
        self.network = replace(self.network, wanted=False)
        self._changed.set()
        self._notify()

    async def existing(self) -> None:
        """Returns once components can join it: it exists in Podman, and its ROS master is up.

        A network that somebody else removed from Podman is created again. Raises
        NetworkNotFoundError if it is being deleted, NetworkError and RunnerUnavailableError if
        Podman does not create it, and the error that ended its ROS master.
        """
        while True:
            if not self.network.wanted:
                raise NetworkNotFoundError(f"the {self.network.title} is being deleted")
            if self.failure is not None:
                raise self.failure
            if self._exists:
                await self._ensure()
                return
            await self._news.wait()

    # --- the life ------------------------------------------------------------------------------

    def adopt(self, present: Mapping[str, Container]) -> None:
        """Prepares to adopt the ROS master of an earlier daemon; `present`: key -> the container.

        Call it once, before `run`.
        """
        self._present = present.get(self.id)
        if self._present is not None and self.network.wanted and self.image:
            self._site.allocations.adopt(self.id, self._claim, ())

    async def run(self) -> None:
        """Controls the network until nothing of it is left.

        When it is cancelled, its ROS master keeps running.
        """
        try:
            if self.network.wanted:
                await self._while_wanted(self._create())
            while self.network.wanted:
                self._changed.clear()
                if self.failure is not None:
                    await self._end_master()
                await self._changed.wait()
            self.waits_for = "the end of its ROS master"
            await self._end_master()
            await self._patiently(self._remove, always=True)
        finally:
            if self._master is not None and self._master.task is not None:
                self._master.task.cancel()
                await asyncio.gather(self._master.task, return_exceptions=True)

    async def _while_wanted(self, work: Coroutine[Any, Any, None]) -> None:
        await while_wanted(work, lambda: self.network.wanted, self._changed)

    async def _create(self) -> None:
        """Creates what is missing of it; an error of its ROS master is kept as its failure."""
        self.waits_for = "Podman, which creates it"
        await self._patiently(self._ensure, always=True)
        if self.image:
            try:
                found = self._present is not None  # it may run: nothing of it is given up
                await self._patiently(self._find_image, always=found)
                await self._begin_master()
            except ClaraedgeError as error:
                self._failed(error)
                return
        self.waits_for = ""
        self._exists = True
        self._notify()
        _log.info("network created", extra={"network": self.id, "subnet": self.subnet})

    async def _ensure(self) -> None:
        network = await self._find()
        if network is None:
            labels = {LABEL_NETWORKS: self._site.workshop.instance, LABEL_NETWORK: self.id}
            network = await self._site.workshop.runner.create_network(
                self.name, labels, outside=self._site.outside
            )
        address(network.subnet, _MASTER)  # that it has addresses
        self.subnet = network.subnet or ""
        self.unlike = network.outside is not self._site.outside

    async def _find(self) -> Network | None:
        found = await self._site.workshop.runner.networks({LABEL_NETWORK: self.id})
        return next((network for network in found if network.name == self.name), None)

    async def _find_image(self) -> None:
        self.waits_for = f"the image {self.image}"
        self._image = (await self._site.images.ensure(self.image, ())).id

    async def _begin_master(self) -> None:
        """Starts the keeper of the ROS master; returns once it is up. Raises why it is not."""
        site = self._site
        self.waits_for = "memory"
        await site.allocations.acquire(self.id, self._claim)
        recipe = self._recipe()
        found = self._present
        master = self._master = SupervisedContainer(
            site.workshop,
            recipe.key,
            recipe.name,
            rule=RULES[self.network.given.restart],
            start=_START,
            recipe=recipe,
            found=None if found is None else read_found(found),
            was_fit=found is not None,
            patient=True,
        )
        master.networks = {self.name: address(self.subnet, _MASTER)}
        Keeper(master, _MasterOwner(self), site.workshop, site.clock).begin()
        self._present = None
        self.waits_for = "the start of its ROS master"
        await master.up()

    def _recipe(self) -> Recipe:
        return Recipe(
            key=self.id,
            name=f"ROS master of the {self.network.title}",
            spec=ContainerSpec(
                name="",
                image=self._image,
                command=("rosmaster", "--core", "-p", str(PORT)),
                environment={
                    "ROS_MASTER_URI": self.master,
                    **ros_address(address(self.subnet, _MASTER)),
                },
                log_path=UNNAMED,
                writable_root=True,  # it writes its logs to the home folder of its user
            ),
            ports=(PORT,),
            memory=self._site.memory,
            labels={LABEL_NETWORK: self.id},
        )

    @property
    def _claim(self) -> Claim:
        return Claim(memory=self._site.memory)

    def _failed(self, error: ClaraedgeError) -> None:
        self.failure, self.waits_for = error, ""
        self._changed.set()
        self._notify()
        extra = {"network": self.id, "reason": str(error)}
        _log.error("network without its ROS master", extra=extra)

    def _notify(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _end_master(self) -> None:
        """Removes its ROS master, if there is something of it, and frees the memory."""
        if self._master is not None and self._master.task is not None:
            self._master.dismiss()
            await asyncio.wait({self._master.task})
        workshop = self._site.workshop
        await self._patiently(partial(workshop.remove_all, LABEL_NETWORK, self.id), always=True)
        self._site.allocations.release(self.id)

    async def _remove(self) -> None:
        await self._site.workshop.runner.remove_network(self.name)

    async def _patiently(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, always: bool = False
    ) -> None:
        await patiently(work, self._wait, always=always)

    def _wait(self, error: ClaraedgeError | OSError) -> None:
        self.waits_for = str(error)
        extra = {"network": self.id, "reason": str(error)}
        _log.warning("a network waits", extra=extra)

    def ended(self, error: ClaraedgeError) -> None:
        """Notes that its ROS master has ended for good."""
        if self.network.wanted:
            self._failed(error)

    async def lost_master(self) -> None:
        """Creates the network again where it is gone, so that its ROS master can start again."""
        with contextlib.suppress(ClaraedgeError):
            await self._ensure()


def ros_address(own: str) -> Mapping[str, str]:
    """Returns the variables by which ROS nodes tell others their address."""
    return {"ROS_IP": own, "ROS_HOSTNAME": own}


class _MasterOwner(QuietOwner[SupervisedContainer]):
    """Notes what the keeper of a ROS master reports."""

    def __init__(self, live: LiveNetwork) -> None:
        self._live = live
        self._tasks: set[asyncio.Task[None]] = set()

    def restarted(
        self,
        supervised: SupervisedContainer,  # noqa: ARG002 - shapes are the protocol's
    ) -> None:
        task = asyncio.ensure_future(self._live.lost_master())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def rested(
        self,
        supervised: SupervisedContainer,
        text: str,
    ) -> None:
        self._live.ended(NetworkMasterError(f"{supervised.name}: {text}"))

    async def lost(
        self,
        supervised: SupervisedContainer,  # noqa: ARG002 - shapes are the protocol's
        error: ClaraedgeError,
    ) -> None:
        self._live.ended(error)

    def ended(self, supervised: SupervisedContainer, task: asyncio.Task[None]) -> None:
        failure = close_after_bug(supervised, task, NetworkMasterError)
        if failure is not None:
            self._live.ended(failure)
