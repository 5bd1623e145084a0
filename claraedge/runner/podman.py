"""The product's Runner: rootless Podman.

Each call of the protocol is implemented by one part: creation, exits, removal, the inspector of
containers, the image store, bridge networks. This module puts them together.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.runner import foreign
from claraedge.runner.containers.archives import ImageFiles, StandIns
from claraedge.runner.containers.creation import Creation
from claraedge.runner.containers.devices import AllNodes, DeviceCheck, Nodes
from claraedge.runner.containers.exits import Exits
from claraedge.runner.containers.inspector import Inspector
from claraedge.runner.containers.removal import Removal
from claraedge.runner.containers.specgen import NO_DEVICES
from claraedge.runner.containers.trial import Trial
from claraedge.runner.containers.volumes import ImageVolumes
from claraedge.runner.host import Host
from claraedge.runner.images import pulls
from claraedge.runner.images.image_store import ImageStore
from claraedge.runner.networking.bridges import Bridges
from claraedge.runner.networking.shared_netns import SharedNetns
from claraedge.runner.processes import alive, watched
from claraedge.runner.protocol import (
    Container,
    ContainerSpec,
    Damage,
    Exit,
    Image,
    Limit,
    Login,
    Network,
    Phase,
    Space,
)
from claraedge.runner.service.answers import Info, check_storage, explained
from claraedge.runner.service.service import PodmanService
from claraedge.runner.user_namespaces import UserNamespace
from claraedge.runner.workarounds import conmon, seccomp
from claraedge.runner.workarounds.dialing import Stream, dialed
from claraedge.runner.workarounds.slices import Slices

_log = logging.getLogger(__name__)

_PING = 3.0  # seconds


class PodmanRunner:
    """Runs containers through a PodmanService. An asynchronous context manager.

    `runtime` is a private folder on a tmpfs; the reduced seccomp filter is written there.
    `visible_devices` is the value of NVIDIA_VISIBLE_DEVICES in containers with devices; `nodes`
    returns the device nodes of a CDI name, `all_nodes` those of its whole spec. `user_namespace`
    applies to containers of images.
    """

    def __init__(
        self,
        service: PodmanService,
        runtime: Path,
        *,
        visible_devices: str = NO_DEVICES,
        nodes: Nodes = lambda _device: None,
        all_nodes: AllNodes = lambda _device: (),
        user_namespace: UserNamespace = UserNamespace.HOST,
    ) -> None:
        self._service = service
        self._version = ""
        self._runtime = runtime
        slices = Slices()
        self._host = host = Host(service, slices, user_namespace)
        self._inspector = inspector = Inspector(service, slices)
        self._removal = removal = Removal(service, host, inspector, slices)
        self._exits = Exits(host, inspector, removal)
        self._image_store = ImageStore(service, host, runtime)
        stand_ins = StandIns(service, removal)
        self._image_files = ImageFiles(stand_ins)
        netns = SharedNetns(service, host)
        self._bridges = Bridges(service, netns)
        devices = DeviceCheck(
            host, inspector, visible=visible_devices, nodes=nodes, all_nodes=all_nodes
        )
        volumes = ImageVolumes(service, stand_ins)
        self._creation = Creation(
            service, host, inspector, removal, slices, devices, netns, volumes
        )
        self._trial = Trial(self._creation, removal, runtime)

    async def __aenter__(self) -> Self:
        await in_thread(pulls.remove_stale_logins, self._runtime)
        try:
            info = await self._host.info()
        except RunnerUnavailableError as error:
            _log.warning("containers start 30 ms slower until the next start: %s", error)
            info = None
        if info is not None:
            await self._reduce_profile(info)
            await self._delay_cleanup(info)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Does nothing: running containers continue."""

    async def version(self) -> str:
        if self._version and self._service.resting:  # this is no reason to start it
            return self._version
        try:
            response = await self._service.request("GET", "/_ping", timeout=_PING, counts=False)
        except RunnerUnavailableError:
            return ""
        version = response.headers.get("libpod-api-version", "")
        self._version = f"Podman {version}" if version else ""
        return self._version

    async def limits(self) -> frozenset[Limit]:
        return await self._host.limits()

    # --- images -----------------------------------------------------------------------------

    async def find_image(self, reference: str) -> Image | None:
        return await self._image_store.find(reference)

    async def list_images(self) -> Sequence[Image]:
        return await self._image_store.all()

    async def load_image(self, archive: Path) -> Sequence[Image]:
        return await self._image_store.load(archive)

    async def check_image(self, image: str, *, contents: bool) -> Damage | None:
        return await self._image_store.check(image, contents=contents)

    async def remove_image(self, reference: str, *, force: bool) -> None:
        await self._image_store.remove(reference, force=force)

    async def read_files(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        return await self._image_files.read(image, paths, labels)

    async def pull_image(
        self, name: str, *, login: Login | None, insecure: bool, limit: float
    ) -> Image:
        return await self._image_store.pull(name, login=login, insecure=insecure, limit=limit)

    async def image_space(self) -> Space:
        return await self._image_store.space()

    # --- containers -------------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> str:
        return await self._creation.create(spec)

    async def holds(self, container: str) -> bool:
        state = await self._inspector.state(container)
        return state is not None and state.holds and alive(state.pid, container)

    async def released(self, container: str) -> None:
        state = await self._inspector.state_in_outage(container)
        while state is not None and state.holds:
            with watched(state.pid, container) as process:
                if process is None:
                    return
                await process.end()
            state = await self._inspector.state_in_outage(container)

    async def try_device(self, device: str, labels: Mapping[str, str]) -> str | None:
        return await self._trial.of(device, labels)

    async def start(self, container: str) -> None:
        response = await self._service.request("POST", f"/containers/{container}/start")
        if not response.ok and response.status != 304:
            check_storage(response)
            raise ContainerError(explained(response.reason))
        self._exits.started(container)

    async def wait(self, container: str) -> Exit:
        return await self._exits.wait(container)

    async def stop(self, container: str, grace: float) -> bool:
        seconds = max(0, math.ceil(grace))
        response = await self._service.request(
            "POST",
            f"/containers/{container}/stop",
            query={"timeout": str(seconds)},
            timeout=seconds + 30.0,
            repeatable=True,
        )
        if response.ok or response.status in (304, 404):
            return response.status not in (304, 404)
        # Podman fails to stop a container without a supervisor, or one that is just ending.
        _log.warning("Podman did not stop container %s: %s", container, response.reason)
        state = await self._inspector.state(container)
        if state is not None and state.phase is Phase.RUNNING:
            with watched(state.pid, container) as process:
                if process is not None:
                    process.kill()
                    return True
        return False

    async def remove(self, container: str) -> None:
        await self._removal.remove(container)
        self._exits.forget(container)

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Container]:
        return await self._inspector.containers(labels)

    async def half_made(self, prefix: str) -> Sequence[str]:
        return await self._inspector.half_made(prefix)

    async def reclaim(self, folder: Path) -> None:
        await foreign.reclaim(folder)

    # --- networks ---------------------------------------------------------------------------

    async def create_network(
        self, name: str, labels: Mapping[str, str], *, outside: bool = False
    ) -> Network:
        return await self._bridges.create(name, labels, outside=outside)

    async def remove_network(self, name: str) -> None:
        await self._bridges.remove(name)

    async def networks(self, labels: Mapping[str, str]) -> Sequence[Network]:
        return await self._bridges.all(labels)

    async def connect(self, container: str, network: str, address: str) -> None:
        await self._bridges.connect(container, network, address)

    @asynccontextmanager
    async def dial(
        self, container: str, address: str, port: int, *, seconds: float = 5.0
    ) -> AsyncIterator[Stream]:
        state = await self._inspector.state(container)
        if state is None or not alive(state.pid, container):
            raise ConnectionRefusedError(f"container {container} does not run")
        if state.joins:  # a user namespace of its own does not open the one of another container
            holder = await self._inspector.state(state.joins)
            if holder is None or not alive(holder.pid, state.joins):
                raise ConnectionRefusedError(f"container {container} has lost its network")
            state = holder
        async with dialed(state.pid, address, port, seconds) as stream:
            yield stream

    # --- what makes containers start faster ---------------------------------------------------

    async def _reduce_profile(self, info: Info) -> None:
        """Writes a smaller copy of Podman's default seccomp filter and uses it, where that filter
        is a file.
        """
        security = info.host.security
        path = self._runtime / "seccomp.json"
        usable = security.seccomp_enabled and security.seccomp_profile_path.startswith("/")
        if usable and await in_thread(
            seccomp.write_reduced,
            Path(security.seccomp_profile_path),
            path,
            os.uname().machine,
        ):
            self._creation.seccomp_profile = path

    async def _delay_cleanup(self, info: Info) -> None:
        """Delays Podman's cleanup, so that it does not slow down what follows an operator, where
        possible.
        """
        if (
            not self._service.private
            or self._service.conmon is not None
            or not info.host.conmon.path
        ):
            return
        program = await conmon.late(info.host.conmon.path, self._runtime)
        if program is not None:
            await self._service.supervise_with(program)
