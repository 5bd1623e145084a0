"""Creates a container: creates, initialises and checks it, or leaves nothing behind.

The slow step is `init` (40 ms); the start after it lasts 8 ms. So creation includes the
initialisation, and a job's next container can be ready before its turn comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from claraedge.blocking import in_thread, to_its_end
from claraedge.errors import ClaraedgeError, ContainerError
from claraedge.runner.containers.devices import DeviceCheck
from claraedge.runner.containers.inspector import Inspector
from claraedge.runner.containers.joining import JoinedNetns, joined, not_joined
from claraedge.runner.containers.removal import Removal
from claraedge.runner.containers.specgen import NetworkSettings, create_request
from claraedge.runner.containers.volumes import ImageVolumes
from claraedge.runner.host import Host
from claraedge.runner.networking.shared_netns import SharedNetns
from claraedge.runner.protocol import OUTSIDE, ContainerSpec, Phase
from claraedge.runner.service.answers import ContainerCreateResponse, decode, refused
from claraedge.runner.service.http import Response
from claraedge.runner.service.service import PodmanService
from claraedge.runner.workarounds import leases
from claraedge.runner.workarounds.slices import Slices

_log = logging.getLogger(__name__)

#: Timeout in seconds for creating a container, and for the first one of an image that has to be
#: copied for it.
_CREATE, _COPY = 60.0, 3600.0
#: Seconds before a container is created again after a refusal that may not be true.
_PAUSES = (0.1, 0.4, 1.6)
#: Refusals of runc, crun and Podman where the files of a container are not mounted.
_FILES = "not found|no such file|does not exist|no matching entries"
#: Refusals of CNI where two containers are connected to a new network at the same time.
_RACE = "could not set bridge|could not add ip address to"
#: Refusal of CNI where an address is leased already.
_LEASED = "requested ip address .* is not available"
_PASSING = re.compile("|".join((_FILES, _RACE, _LEASED)), re.IGNORECASE)


class Creation:
    """Creates containers."""

    def __init__(
        self,
        service: PodmanService,
        host: Host,
        inspector: Inspector,
        removal: Removal,
        slices: Slices,
        devices: DeviceCheck,
        netns: SharedNetns,
        volumes: ImageVolumes,
    ) -> None:
        self.seccomp_profile: Path | None = None
        """The seccomp filter (system calls) of containers; None: Podman's own."""
        self._service = service
        self._host = host
        self._inspector = inspector
        self._removal = removal
        self._slices = slices
        self._devices = devices
        self._netns = netns
        self._volumes = volumes

    async def create(self, spec: ContainerSpec) -> str:
        """Implements Runner.create."""
        async with joined(self._inspector, spec) as netns:
            return await self._create_in(spec, netns)

    async def _create_in(self, spec: ContainerSpec, netns: JoinedNetns | None) -> str:
        limits = await self._host.limits()
        groups = await self._devices.groups(spec)
        volumes = await self._volumes.of(spec)
        request = create_request(
            spec,
            self.seccomp_profile,
            await self._network(spec, netns),
            limits=limits,
            visible_devices=self._devices.visible,
            place=self._slices.take(spec.name) if self._host.sliced else None,
            groups=groups,
            volumes=volumes,
            user_namespace=await self._host.user_namespace(),
        )
        # A caller that is cancelled here must not leave a container that nobody knows of.
        work = asyncio.ensure_future(self._create_placed(spec, request, netns))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await to_its_end(self._take_back(work))
            raise

    async def _take_back(self, work: asyncio.Future[str]) -> None:
        with contextlib.suppress(ClaraedgeError):
            await self._removal.remove(await work)

    async def _network(self, spec: ContainerSpec, netns: JoinedNetns | None) -> NetworkSettings:
        if netns is not None:
            return NetworkSettings(joined=netns.pid, files=netns.files)
        if OUTSIDE in spec.networks:
            return NetworkSettings(outside=await self._host.way_out())
        return NetworkSettings(resolvers=await self._host.resolvers() if spec.networks else ())

    async def _create_placed(
        self, spec: ContainerSpec, request: Mapping[str, object], netns: JoinedNetns | None
    ) -> str:
        try:
            container = await self._create(spec, request, netns)
            self._slices.hand_over(spec.name, container)
        finally:
            self._slices.free(spec.name)
        return container

    async def _create(
        self, spec: ContainerSpec, request: Mapping[str, object], netns: JoinedNetns | None
    ) -> str:
        container = await self._posted(spec, request)
        try:
            initialised = await self._netns.post(f"/containers/{container}/init")
            for pause in _PAUSES:
                if initialised.ok or not _PASSING.search(initialised.reason):
                    break
                if not await self._removed(container, spec, initialised):
                    break
                for network, address in spec.networks.items():
                    await self._free_address(network, address)
                await asyncio.sleep(pause)
                container = await self._posted(spec, request)
                initialised = await self._netns.post(f"/containers/{container}/init")
            if netns is not None and netns.gone:
                raise not_joined(spec)
            if not initialised.ok:
                raise refused(initialised, spec)
            if spec.devices:
                await self._devices.check(container, spec)
        except ClaraedgeError:
            # The container may be half created. It was never started, so removing it is safe. Where
            # Podman does not answer the removal either, that error is raised instead: the caller
            # then searches for orphans.
            with contextlib.suppress(ContainerError):
                await self._removal.remove(container)
            raise
        return container

    async def _removed(self, container: str, spec: ContainerSpec, refusal: Response) -> bool:
        """Removes a container that was not initialised, so that it can be created once more.

        The refusal may not be true: when another process of Podman ends, it may unmount the files
        of a container that is being created (containers/podman#17216), and a program that the image
        has is "not found"; or the plugins of CNI disturb each other. Returns False where Podman
        does not remove the container.
        """
        try:
            await self._removal.remove(container)
        except ContainerError:
            return False
        _log.info("container %s is created again: %s", spec.name, refusal.reason)
        return True

    async def _free_address(self, network: str, address: str) -> None:
        """Frees an address on a network that is leased to a container which does not exist."""
        owner = await in_thread(leases.owner, network, address)
        if owner and await self._inspector.state(owner) is None:
            await leases.free(owner)

    async def _posted(self, spec: ContainerSpec, request: Mapping[str, object]) -> str:
        """Returns the id of a container that is created and not initialised."""
        response = await self._post(request)
        if not response.ok and "already in use" in response.reason and await self._free_name(spec):
            response = await self._post(request)
        if not response.ok:
            raise refused(response, spec)
        return decode(response, ContainerCreateResponse).id

    async def _post(self, request: Mapping[str, object]) -> Response:
        timeout = _COPY if self._host.copies_images else _CREATE
        return await self._service.request(
            "POST", "/containers/create", body=request, timeout=timeout
        )

    async def _free_name(self, spec: ContainerSpec) -> bool:
        """Removes what an earlier call left under this name: Podman died during that call, or its
        answer was lost. Returns False where nothing was found.
        """
        found = [name for name in await self._inspector.half_made(spec.name) if name == spec.name]
        found += [
            container.id
            for container in await self._inspector.containers(spec.labels)
            if container.name == spec.name and container.phase is Phase.CREATED
        ]
        for container in found:
            await self._removal.remove(container)
        return bool(found)
