"""The in-memory Runner: the calls of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from claraedge.errors import (
    ContainerError,
    ImageInUseError,
    ImageNotFoundError,
    NetworkError,
    RunnerUnavailableError,
)
from claraedge.ids import new_id
from claraedge.runner.memory.containers import KILLED, MemoryContainer, owner
from claraedge.runner.memory.machine import MemoryMachine
from claraedge.runner.memory.programs import Handler
from claraedge.runner.protocol import (
    OUTSIDE,
    Container,
    ContainerSpec,
    Damage,
    Exit,
    ExitCause,
    Image,
    Limit,
    Login,
    Network,
    Phase,
    Space,
)

_LOCALHOST = "127.0.0.1"


class MemoryRunner(MemoryMachine):
    """An in-memory Runner. All its methods belong to one event loop."""

    async def version(self) -> str:
        return "in memory" if self.available else ""

    async def limits(self) -> frozenset[Limit]:
        self._check()
        return self.enforced

    async def find_image(self, reference: str) -> Image | None:
        self._check()
        return self._images.find(reference)

    async def list_images(self) -> Sequence[Image]:
        self._check()
        return self._images.all()

    async def load_image(self, archive: Path) -> Sequence[Image]:
        self._check()
        return self._images.load(archive)

    async def check_image(self, image: str, *, contents: bool) -> Damage | None:
        self._check()
        self.checks.append((image, contents))
        return self._images.check(image, contents=contents)

    async def remove_image(self, reference: str, *, force: bool) -> None:
        self._check()
        image = self._images.find(reference)
        wanted = "" if image is None else image.id
        made = [entry for entry in self._containers.values() if entry.spec.image == wanted]
        if made and not force:
            raise ImageInUseError(f"{len(made)} containers are made of the image {reference}")
        for entry in made:
            await self.remove(entry.id)
        self._images.untag(reference)

    async def read_files(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        self._check()
        self.files_read.append((image, dict(labels)))
        return self._images.read(image, paths)

    async def pull_image(
        self, name: str, *, login: Login | None, insecure: bool, limit: float
    ) -> Image:
        self._check()
        self.pulls.append((name, login.username if login else "", insecure))
        return await self._images.pull(name, login, limit)

    async def image_space(self) -> Space:
        self._check()
        return self.space

    async def create(self, spec: ContainerSpec) -> str:
        self._check()
        errors = self._create_errors.get(owner(spec))
        if errors:
            raise errors.pop(0)
        if spec.image not in self._images:
            raise ImageNotFoundError(f"image {spec.image} is not on this device")
        if any(e.spec.name == spec.name for e in self._containers.values()):
            raise ContainerError(f"the container name {spec.name} is in use")
        joined = self._containers.get(spec.joins)
        if spec.joins and (joined is None or not joined.holds):
            raise ContainerError(
                f"container {spec.name} cannot join the network of container {spec.joins[:12]}"
            )
        for network in spec.networks:
            if network != OUTSIDE and network not in self._networks:
                raise ContainerError(f"container {spec.name}: no network {network}")
        missing = [m.source for m in spec.mounts if not m.source.exists()]
        if missing:
            raise ContainerError(f"container {spec.name}: no such folder: {missing[0]}")
        spec.log_path.touch(mode=0o600)
        entry = MemoryContainer(id=(new_id() + new_id()), spec=spec, networks=dict(spec.networks))
        self._containers[entry.id] = entry
        self.created.append(spec)
        return entry.id

    async def holds(self, container: str) -> bool:
        self._check()
        entry = self._containers.get(container)
        return entry is not None and entry.holds

    async def released(self, container: str) -> None:
        self._check()
        entry = self._containers.get(container)
        if entry is not None and entry.holds:
            await entry.released.wait()

    async def try_device(self, device: str, labels: Mapping[str, str]) -> str | None:
        self._check()
        self.tried.append((device, dict(labels)))
        return self.unusable.get(device)

    async def start(self, container: str) -> None:
        self._check()
        entry = self._containers.get(container)
        if entry is None:
            raise ContainerError(f"there is no container {container}")
        errors = self._start_errors.get(entry.operator)
        if errors:
            raise errors.pop(0)
        if entry.phase is Phase.RUNNING:
            return
        if entry.phase is not Phase.CREATED:
            raise ContainerError(f"container {container} was started before")
        program = self._images.program(entry.spec.image)
        self.started.append(entry.spec)
        entry.begin(program, self._blocked.get(entry.operator))
        async with self._changed:
            self._changed.notify_all()

    async def wait(self, container: str) -> Exit:
        self._check()
        entry = self._containers.get(container)
        if entry is None or entry.phase is Phase.INTERRUPTED:
            return Exit(cause=ExitCause.VANISHED)
        if entry.phase is Phase.CREATED:
            raise ContainerError(f"container {container} was never started: it has no end")
        await entry.ended.wait()
        assert entry.exit is not None
        if entry.exit.cause is ExitCause.LOST_SUPERVISOR:
            self._containers.pop(container, None)
        return entry.exit

    async def stop(self, container: str, grace: float) -> bool:
        self._check()
        entry = self._containers.get(container)
        if entry is None or entry.task is None or entry.task.done():
            return False
        self.stops.append((entry.operator, grace))
        entry.task.cancel()
        await asyncio.wait([entry.task], timeout=grace)
        entry.end(Exit(cause=ExitCause.EXITED, code=KILLED))
        return True

    async def remove(self, container: str) -> None:
        self._check()
        self.halves.discard(container)
        entry = self._containers.get(container)
        if entry is not None and entry.operator in self._kept:
            raise ContainerError(f"container {container} could not be removed")
        if entry is not None:
            del self._containers[container]
            entry.kill(Exit(cause=ExitCause.EXITED, code=KILLED))

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Container]:
        self._check()
        return [
            e.listed() for e in self._containers.values() if labels.items() <= e.spec.labels.items()
        ]

    async def half_made(self, prefix: str) -> Sequence[str]:
        self._check()
        return [name for name in self.halves if name.startswith(prefix)]

    async def create_network(
        self, name: str, labels: Mapping[str, str], *, outside: bool = False
    ) -> Network:
        self._check()
        if outside:
            self.outside.add(name)
        return self._networks.create(name, labels, outside=outside)

    async def remove_network(self, name: str) -> None:
        self._check()
        if any(name in e.networks for e in self._containers.values()):
            raise NetworkError(f"network {name} could not be removed: it is being used")
        self._networks.remove(name)

    async def networks(self, labels: Mapping[str, str]) -> Sequence[Network]:
        self._check()
        return self._networks.all(labels)

    async def connect(self, container: str, network: str, address: str) -> None:
        self._check()
        entry = self._containers.get(container)
        if entry is None or entry.spec.joins or network not in self._networks:
            raise NetworkError(f"container {container} could not be put on network {network}")
        entry.networks.setdefault(network, address)

    @asynccontextmanager
    async def dial(
        self,
        container: str,
        address: str,
        port: int,
        *,
        seconds: float = 5.0,  # noqa: ARG002 - whoever listens here accepts at once
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        self._check()
        handler = self._handler(container, address, port)
        if handler is None:
            raise ConnectionRefusedError(f"nothing listens on {address}:{port}")
        async with self._networks.connection(handler) as streams:
            yield streams

    async def reclaim(self, folder: Path) -> None:
        self._check()
        self.reclaimed.append(folder)

    # --- inside -----------------------------------------------------------------------------

    def _check(self) -> None:
        if not self.available:
            raise RunnerUnavailableError("the in-memory runner was made unavailable")

    def _handler(self, container: str, address: str, port: int) -> Handler | None:
        """Returns what serves connections to an address in the network of a container."""
        entry = self._containers.get(container)
        if entry is None or not (entry.phase is Phase.RUNNING or entry.holds):
            return None
        holder = self._containers.get(entry.spec.joins, entry)
        if address not in {_LOCALHOST, *holder.networks.values()}:
            return None
        inside = [
            self._images.handler(e.spec.image, port)
            for e in self._containers.values()
            if holder.id in (e.id, e.spec.joins) and e.phase is Phase.RUNNING
        ]
        return next((handler for handler in inside if handler is not None), None)
