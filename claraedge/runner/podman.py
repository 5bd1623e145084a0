"""The product's Runner: rootless Podman.

What costs time is `init` (40 ms); a start after it takes 8 ms. So `create` initialises as well, and
a job's next container can be ready before its turn comes. Exits are seen by pidfd; nothing here
ever attaches to a container, because attaching to one that has just ended runs it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from claraedge import spawn
from claraedge.blocking import Threads, in_thread, to_its_end
from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    ImagePullError,
    InvalidImageError,
    NetworkError,
    RunnerUnavailableError,
)
from claraedge.pipelines.containers import VISIBLE_DEVICES
from claraedge.runner import conmon, images, pulls, remains, seccomp
from claraedge.runner.answers import (
    Created,
    Info,
    Loaded,
    check_storage,
    decode,
    refused,
    removal_error,
)
from claraedge.runner.archives import MAX_ARCHIVE, file_of, reading_request, unreadable
from claraedge.runner.containers import (
    State,
    labels_filter,
    read_half_made,
    read_initialised,
    read_list,
    read_state,
)
from claraedge.runner.devices import check_devices
from claraedge.runner.dialing import Stream, dialed
from claraedge.runner.exit_files import ExitFiles
from claraedge.runner.exits import Process, alive, watched
from claraedge.runner.limits import enforced
from claraedge.runner.networks import (
    create_network_request,
    impossible,
    place,
    read_network,
    read_networks,
)
from claraedge.runner.protocol import (
    OUTSIDE,
    Container,
    ContainerSpec,
    Exit,
    ExitCause,
    Image,
    Limit,
    Login,
    Network,
    Phase,
    Space,
)
from claraedge.runner.service import PodmanService
from claraedge.runner.slices import Slices
from claraedge.runner.specgen import NO_DEVICES, create_request

log = logging.getLogger(__name__)

T = TypeVar("T")

_PING = 3.0
_INSPECT = 20.0
#: All of a question about images; the threads that ask may stay longer in a hung Podman.
_IMAGES = 25.0
_IMAGE_THREADS = 4
_LOAD = 3600.0
_RECLAIM = 600.0
#: How long `wait` outlives a service that does not come back.
_OUTAGE = 60.0
#: How long the exit code may stay away after the process ended: without, and with, a supervisor.
_CODE_ALONE, _CODE_SUPERVISED = 2.0, 30.0
_POLL = (0.002, 0.05)


class _UnshownError(RunnerUnavailableError):
    """Podman answers, but not what a container is like."""


class PodmanRunner:
    """Containers by a PodmanService. An asynchronous context manager.

    `runtime` is a private folder on a tmpfs; the reduced system call filter is put there.
    `visible_devices` is NVIDIA_VISIBLE_DEVICES of containers with devices. `nodes` says which
    device nodes a CDI name stands for, path in the container -> path on this machine; None: nobody
    knows. It may block.
    """

    def __init__(
        self,
        service: PodmanService,
        runtime: Path,
        *,
        visible_devices: str = NO_DEVICES,
        nodes: Callable[[str], Mapping[str, str] | None] = lambda _device: None,
    ) -> None:
        self._service = service
        self._visible_devices = visible_devices
        self._nodes = nodes
        self._limits: frozenset[Limit] | None = None
        self._overruled: set[str] = set()
        self._runtime = runtime
        self._profile_path = runtime / "seccomp.json"
        self._profile: Path | None = None
        self._graph_root: Path | None = None
        self._exit_files = ExitFiles()
        self._pid_files: conmon.PidFiles | None = None
        self._started: set[str] = set()
        self._slices = Slices()
        self._sliced = False
        self._image_threads = Threads(_IMAGE_THREADS, "images")

    async def __aenter__(self) -> Self:
        await in_thread(pulls.remove_stale_logins, self._runtime)
        try:
            info = await self._info()
        except RunnerUnavailableError as error:
            log.warning("containers start 30 ms slower until the next start: %s", error)
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
        """Nothing to end: what runs goes on."""

    async def version(self) -> str:
        try:
            response = await self._service.request("GET", "/_ping", timeout=_PING)
        except RunnerUnavailableError:
            return ""
        version = response.headers.get("libpod-api-version", "")
        return f"Podman {version}" if version else ""

    async def limits(self) -> frozenset[Limit]:
        if self._limits is None and await self._info() is None:
            raise RunnerUnavailableError("Podman does not say which limits it enforces")
        assert self._limits is not None, "whoever asks for the info notes it"
        return self._limits

    # --- images -----------------------------------------------------------------------------

    async def find_image(self, reference: str) -> Image | None:
        if not reference.strip():
            return None
        response = await self._service.request(
            "GET", images.inspect_path(reference), timeout=_IMAGES, repeatable=True
        )
        return images.read_image(response, reference)

    async def list_images(self) -> Sequence[Image]:
        return await self._about_images(images.find_all)

    async def load_image(self, archive: Path) -> Sequence[Image]:
        try:
            response = await self._service.request(
                "POST", "/images/load", upload=archive, timeout=_LOAD
            )
        except OSError as error:
            raise InvalidImageError(
                f"{archive} cannot be read: {error.strerror or error}"
            ) from error
        if not response.ok:
            check_storage(response)
            raise InvalidImageError(
                f"{archive.name} is no image archive that Podman can load: {response.reason}",
                "make one with `podman save --format docker-archive` or `docker save`",
            )
        loaded: dict[str, Image] = {}
        for name in decode(response, Loaded).names:
            image = await self.find_image(name)
            if image is not None:
                loaded[image.id] = image
        if not loaded:
            raise InvalidImageError(f"{archive.name} holds no image")
        return list(loaded.values())

    async def read_files(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        # What is made for it must go again, also where the caller goes away.
        return await to_its_end(self._read_files(image, paths, labels))

    async def _read_files(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        response = await self._service.request(
            "POST", "/containers/create", body=reading_request(image, labels)
        )
        if not response.ok:
            raise unreadable(response, image)
        container = decode(response, Created).id
        try:
            found = {path: await self._read_file(container, image, path) for path in paths}
        finally:
            try:
                await self.remove(container)
            except ClaraedgeError as error:
                log.warning("container left behind until the next start: %s", error)
        return {path: content for path, content in found.items() if content is not None}

    async def _read_file(self, container: str, image: str, path: str) -> bytes | None:
        response = await self._service.request(
            "GET",
            f"/containers/{container}/archive",
            query={"path": path},
            most=MAX_ARCHIVE,
            timeout=_INSPECT,
            repeatable=True,
        )
        return file_of(response, image, path)

    async def pull_image(
        self, name: str, *, login: Login | None, insecure: bool, limit: float
    ) -> Image:
        image_id = await pulls.pull(
            name,
            login=login,
            insecure=insecure,
            limit=limit,
            runtime=self._runtime,
            store=await self._store(),
        )
        image = await self.find_image(image_id)
        if image is None:
            raise ImagePullError(
                "it was pulled, but the Podman that runs the containers does not show it; let"
                " [podman] socket name the one of this user, or leave it out"
            )
        return image

    async def image_space(self) -> Space:
        store = await self._store()
        try:
            usage = await in_thread(shutil.disk_usage, store)
        except OSError as error:
            raise ImagePullError(
                f"Podman's storage {store} cannot be seen: {error.strerror}"
            ) from error
        return Space(free=usage.free, total=usage.total)

    async def _store(self) -> Path:
        """The folder that Podman keeps images in."""
        if self._graph_root is None:
            info = await self._info()
            if info is None or not info.store.graph_root:
                raise RunnerUnavailableError("Podman does not say where it keeps images")
            self._graph_root = Path(info.store.graph_root)
        return self._graph_root

    async def _about_images(self, ask: Callable[[Path], T]) -> T:
        try:
            with self._service.attended():
                async with asyncio.timeout(_IMAGES):
                    try:
                        return await self._image_threads.run(ask, await self._service.socket())
                    except RunnerUnavailableError:  # once more: the service may be a new one
                        return await self._image_threads.run(ask, await self._service.socket())
        except TimeoutError as error:
            raise RunnerUnavailableError(
                f"Podman did not answer about images within {_IMAGES:g} s; if it stays so, look "
                "at the machine's load and disk, and at what `podman images` says for this user"
            ) from error

    # --- one container ----------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> str:
        outside = await self._way_out() if OUTSIDE in spec.networks else ""
        limits = await self.limits()
        request = create_request(
            spec,
            self._profile,
            outside,
            limits=limits,
            visible_devices=self._visible_devices,
            place=self._slices.take(spec.name) if self._sliced else None,
        )
        # A caller that is cancelled in between must not leave a container that nobody knows.
        work = asyncio.ensure_future(self._create_placed(spec, request))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            with contextlib.suppress(ClaraedgeError):
                await self.remove(await work)
            raise

    async def _create_placed(self, spec: ContainerSpec, request: Mapping[str, object]) -> str:
        try:
            container = await self._create(spec, request)
            self._slices.hand_over(spec.name, container)
        finally:
            self._slices.free(spec.name)
        return container

    async def _create(self, spec: ContainerSpec, request: Mapping[str, object]) -> str:
        response = await self._service.request("POST", "/containers/create", body=request)
        if not response.ok and "already in use" in response.reason and await self._free_name(spec):
            response = await self._service.request("POST", "/containers/create", body=request)
        if not response.ok:
            raise refused(response, spec)
        container = decode(response, Created).id
        try:
            initialised = await self._service.request("POST", f"/containers/{container}/init")
            if not initialised.ok:
                raise refused(initialised, spec)
            if spec.devices:
                await self._check_devices(container, spec)
        except ClaraedgeError:
            # Half made, perhaps. It was never started, so it may go. Where Podman does not answer
            # that either, the caller is told so instead: it looks for what is left.
            with contextlib.suppress(ContainerError):
                await self.remove(container)
            raise
        return container

    async def _free_name(self, spec: ContainerSpec) -> bool:
        """Removes what an earlier call left under this name: one that Podman died in the middle of,
        or whose answer was lost. False where there is none.
        """
        found = [name for name in await self.half_made(spec.name) if name == spec.name]
        found += [
            container.id
            for container in await self.containers(spec.labels)
            if container.name == spec.name and container.phase is Phase.CREATED
        ]
        for container in found:
            await self.remove(container)
        return bool(found)

    async def _check_devices(self, container: str, spec: ContainerSpec) -> None:
        """Raises ContainerError where one of its devices is not in an initialised container."""
        found = read_initialised(await self._inspected(container) or b"")
        own = {device: await in_thread(self._nodes, device) for device in spec.devices}
        await in_thread(check_devices, spec, Path(f"/proc/{found.pid}/root"), found.nodes, own)
        visible = found.environment.get(VISIBLE_DEVICES, "")
        if visible not in (self._visible_devices, *self._overruled):
            self._overruled.add(visible)
            log.warning(
                "the CDI spec sets %s=%s itself, which wins over engine.visible_devices (%s)",
                VISIBLE_DEVICES,
                visible,
                self._visible_devices,
            )

    async def start(self, container: str) -> None:
        response = await self._service.request("POST", f"/containers/{container}/start")
        if not response.ok and response.status != 304:
            check_storage(response)
            raise ContainerError(f"container {container} did not start: {response.reason}")
        self._started.add(container)

    async def wait(self, container: str) -> Exit:
        """Raises ContainerError where the container was never started."""
        code = self._exit_files.code(container)
        if code is not None:
            return Exit(cause=ExitCause.EXITED, code=code)
        state = self._just_started(container) or await self._state_in_outage(container)
        while state is not None and state.phase is Phase.RUNNING:
            with (
                watched(state.pid, container) as process,
                watched(state.conmon, container, supervisor=True) as supervisor,
            ):
                if process is not None:
                    await _first_end(process, supervisor)
                    if not process.gone:
                        return await self._abandon(container, process)
            code = await self._exit_files.code_soon(container)
            if code is not None:
                return Exit(cause=ExitCause.EXITED, code=code)
            state = await self._settled(container)
            if _lost(state, container):
                return await self._abandon(container, None)
        if state is None or state.phase is Phase.INTERRUPTED:
            return Exit(cause=ExitCause.VANISHED)
        if state.exit is None:
            raise ContainerError(f"container {container} was never started: it has no end")
        return state.exit

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
        # Podman gives up on a container without a supervisor, or one that is just ending.
        log.warning("Podman did not stop container %s: %s", container, response.reason)
        state = await self._state(container)
        if state is not None and state.phase is Phase.RUNNING:
            with watched(state.pid, container) as process:
                if process is not None:
                    process.kill()
                    return True
        return False

    async def remove(self, container: str) -> None:
        """Raises ContainerError where Podman refuses twice."""
        try:
            state = await self._state(container)
        except _UnshownError:  # then its removal says more
            state = None
        if state is None or (not state.pid and state.phase is not Phase.STOPPED):
            await remains.end_unknown(container)
        pid = state.conmon if state else 0
        if pid == 0 and self._pid_files is not None:  # Podman names it while the container runs
            pid = self._pid_files.supervisor(container)
        with watched(pid, container, supervisor=True) as supervisor:
            if state is not None:
                # Podman forgets a container whose stop it was killed in the middle of, and lets its
                # process live.
                with watched(state.pid, container) as process:
                    if process is not None:
                        process.kill()
            await self._delete(container)
            if supervisor is not None:
                await conmon.end(supervisor, pid, container)
        self._started.discard(container)
        await remains.clear(container)
        self._slices.free(container)

    async def _delete(self, container: str) -> None:
        for attempt in (1, 2):
            response = await self._service.request(
                "DELETE",
                f"/containers/{container}",
                query={"force": "true", "timeout": "0", "v": "true"},
                repeatable=True,
            )
            if response.status == 404 or (response.ok and not removal_error(response)):
                return
            # Refused once where its process died without a supervisor; it works the second time.
            if attempt == 1:
                await asyncio.sleep(_POLL[1])
        reason = removal_error(response) if response.ok else response.reason
        raise ContainerError(
            f"container {container} could not be removed: {reason}; `podman rm --force "
            f"{container[:12]}` as this user may say more"
        )

    # --- all of them ------------------------------------------------------------------------

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Container]:
        query = {"all": "true"}
        if labels:
            query["filters"] = labels_filter(labels)
        response = await self._service.request(
            "GET", "/containers/json", query=query, repeatable=True
        )
        if not response.ok:
            raise RunnerUnavailableError(f"Podman does not list containers: {response.reason}")
        found = []
        for container, pid in read_list(response.body):
            if container.phase is Phase.RUNNING and not alive(pid, container.id):
                found.append(await self._without_process(container))
            else:
                found.append(container)
        return found

    async def half_made(self, prefix: str) -> Sequence[str]:
        query = {
            "all": "true",
            "external": "true",
            "filters": msgspec.json.encode({"name": [f"^{prefix}"]}).decode(),
        }
        response = await self._service.request(
            "GET", "/containers/json", query=query, repeatable=True
        )
        if not response.ok:
            raise RunnerUnavailableError(f"Podman does not list containers: {response.reason}")
        return read_half_made(response.body)

    async def _without_process(self, container: Container) -> Container:
        """What a container is whose process is gone though Podman calls it running."""
        state = await self._settled(container.id)
        whole = state is not None and not _lost(state, container.id)
        return Container(
            id=container.id,
            name=container.name,
            labels=container.labels,
            phase=state.phase if state and whole else Phase.INTERRUPTED,
            exit_code=state.exit.code if state and state.exit else None,
        )

    # --- networks ---------------------------------------------------------------------------

    async def create_network(self, name: str, labels: Mapping[str, str]) -> Network:
        response = await self._service.request(
            "POST", "/networks/create", body=create_network_request(name, labels)
        )
        if not response.ok:
            check_storage(response)
            raise impossible(response.reason) or NetworkError(
                f"Podman refused the network {name}: {response.reason}"
            )
        return read_network(response.body)

    async def remove_network(self, name: str) -> None:
        # Never with `force`: that removes the containers as well, after ten seconds.
        response = await self._service.request("DELETE", f"/networks/{name}", repeatable=True)
        if response.status == 404 or (response.ok and not removal_error(response)):
            return
        reason = removal_error(response) if response.ok else response.reason
        raise NetworkError(f"network {name} could not be removed: {reason}")

    async def networks(self, labels: Mapping[str, str]) -> Sequence[Network]:
        query = {"filters": labels_filter(labels)} if labels else {}
        response = await self._service.request(
            "GET", "/networks/json", query=query, repeatable=True
        )
        if not response.ok:
            raise RunnerUnavailableError(f"Podman does not list networks: {response.reason}")
        return read_networks(response.body)

    async def connect(self, container: str, network: str, address: str) -> None:
        response = await self._service.request(
            "POST",
            f"/networks/{network}/connect",
            body={"container": container, **place(address)},
        )
        if response.ok or "already connected" in response.reason:
            return
        raise impossible(response.reason) or NetworkError(
            f"container {container} could not be put on network {network}: {response.reason}"
        )

    @asynccontextmanager
    async def dial(self, container: str, address: str, port: int) -> AsyncIterator[Stream]:
        state = await self._state(container)
        if state is None or not alive(state.pid, container):
            raise ConnectionRefusedError(f"container {container} does not run")
        async with dialed(state.pid, address, port) as stream:
            yield stream

    async def reclaim(self, folder: Path) -> None:
        """Raises ContainerError where it does not succeed."""
        for change in (("chown", "-R", "0:0"), ("chmod", "-R", "u+rwX")):
            try:
                code, text = await spawn.run(
                    ["podman", "unshare", *change, "--", str(folder)], timeout=_RECLAIM
                )
            except TimeoutError as error:
                raise ContainerError(
                    f"{folder} was not given back within {_RECLAIM:g} s; `podman unshare chown -R "
                    f"0:0 {folder}` does it by hand"
                ) from error
            if code != 0:
                raise ContainerError(f"{folder} could not be given back: {text.strip()}")

    # --- inside -----------------------------------------------------------------------------

    async def _reduce_profile(self, info: Info) -> None:
        """Takes the system call filter that Podman would use by itself, where that is a file."""
        security = info.host.security
        usable = security.seccomp_enabled and security.seccomp_profile_path.startswith("/")
        if usable and await in_thread(
            seccomp.write_reduced,
            Path(security.seccomp_profile_path),
            self._profile_path,
            os.uname().machine,
        ):
            self._profile = self._profile_path

    async def _delay_cleanup(self, info: Info) -> None:
        """Keeps Podman's cleanup out of the way of what follows an operator, where we may."""
        if (
            not self._service.private
            or self._service.conmon is not None
            or not info.host.conmon.path
        ):
            return
        program = await conmon.late(info.host.conmon.path, self._runtime)
        if program is not None:
            await self._service.supervise_with(program)

    def _just_started(self, container: str) -> State | None:
        """A container as our start has left it, without asking for it; None: not known."""
        if container not in self._started or self._pid_files is None:
            return None
        self._started.discard(container)
        pid = self._pid_files.process(container)
        supervisor = self._pid_files.supervisor(container)
        if not pid or not supervisor:
            return None
        return State(phase=Phase.RUNNING, pid=pid, conmon=supervisor, exit=None)

    async def _way_out(self) -> str:
        """How a rootless container reaches what this machine reaches: Podman's word for it."""
        info = await self._info()
        if info is None:
            raise RunnerUnavailableError("Podman does not say how containers reach the network")
        return "slirp4netns" if info.host.slirp4netns.executable else "pasta"

    async def _info(self) -> Info | None:
        response = await self._service.request("GET", "/info", timeout=_INSPECT, repeatable=True)
        if not response.ok:
            return None
        info = decode(response, Info)
        if self._limits is None and info.store.driver == "vfs":
            log.warning(
                "Podman copies the whole image for each container (its storage driver is vfs);"
                ' write `driver = "overlay"` below `[storage]` in'
                " ~/.config/containers/storage.conf of this user, remove what there is by `podman"
                " system reset`, and load the images again"
            )
        if info.store.run_root and info.store.driver:
            self._pid_files = conmon.PidFiles(info.store.run_root, info.store.driver)
        self._limits = enforced(info.host.cgroup_version, info.host.cgroup_controllers or ())
        self._sliced = (
            Limit.MEMORY in self._limits
            and info.host.cgroup_manager == "systemd"
            and info.host.security.rootless
            and self._slices.usable
        )
        return info

    async def _state(self, container: str) -> State | None:
        """The container now; None where there is none."""
        body = await self._inspected(container)
        state = None if body is None else read_state(body)
        if (
            state is not None
            and state.exit is not None
            and state.exit.code != 0
            and self._slices.killed(state.slice)
        ):
            return replace(state, exit=replace(state.exit, out_of_memory=True))
        return state

    async def _inspected(self, container: str) -> bytes | None:
        response = await self._service.request(
            "GET", f"/containers/{container}/json", timeout=_INSPECT, repeatable=True
        )
        # The second: Podman died in the middle of its removal, and its storage is gone.
        if response.status == 404 or response.cause == "container not known":
            return None
        if not response.ok:
            raise _UnshownError(f"Podman does not show container {container}: {response.reason}")
        return response.body

    async def _state_in_outage(self, container: str) -> State | None:
        """The same; a service that is down is waited for: an exit must not be lost to that."""
        deadline = time.monotonic() + _OUTAGE
        while True:
            try:
                return await self._state(container)
            except RunnerUnavailableError:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_POLL[1] * 10)

    async def _settled(self, container: str) -> State | None:
        """The state after the process has ended: Podman learns of it some milliseconds later.

        Still RUNNING only where nobody is left to say: the supervisor is dead, or hangs.
        """
        began = time.monotonic()
        pause = _POLL[0]
        while True:
            state = await self._state_in_outage(container)
            if state is None or state.phase is not Phase.RUNNING or alive(state.pid, container):
                return state
            supervised = alive(state.conmon, container, supervisor=True)
            limit = _CODE_SUPERVISED if supervised else _CODE_ALONE
            if time.monotonic() - began > limit:
                return state
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _POLL[1])

    async def _abandon(self, container: str, process: Process | None) -> Exit:
        """Ends a container whose exit code nobody will know."""
        log.warning("container %s lost its supervisor", container)
        if process is not None:
            process.kill()
            await process.end()
        await self.remove(container)
        return Exit(cause=ExitCause.LOST_SUPERVISOR)


async def _first_end(process: Process, supervisor: Process | None) -> None:
    """Returns when the container's process, or its supervisor before it, has ended."""
    if supervisor is None:
        return
    ends = [asyncio.ensure_future(p.end()) for p in (process, supervisor)]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


def _lost(state: State | None, container: str) -> bool:
    """Whether Podman calls it running though its process has ended."""
    return state is not None and state.phase is Phase.RUNNING and not alive(state.pid, container)
