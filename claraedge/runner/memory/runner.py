"""The in-memory Runner: methods that prepare a test, and the calls of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    ImageInUseError,
    ImageNotFoundError,
    NetworkError,
    RunnerUnavailableError,
)
from claraedge.ids import new_id
from claraedge.runner.memory.containers import KILLED, MemoryContainer, owner
from claraedge.runner.memory.images import MemoryImages
from claraedge.runner.memory.networks import MemoryNetworks
from claraedge.runner.memory.programs import Handler, Program
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


class MemoryRunner:
    """An in-memory Runner. All its methods belong to one event loop."""

    def __init__(self) -> None:
        self.created: list[ContainerSpec] = []
        """Every container that was created, in order."""
        self.started: list[ContainerSpec] = []
        """Every start, in order: an operator that ran twice is here twice."""
        self.stops: list[tuple[str, float]] = []
        """Every call of `stop`: (operator, grace in seconds)."""
        self.halves: set[str] = set()
        """What `half_made` returns; `remove` removes a name from it."""
        self.reclaimed: list[Path] = []
        self.files_read: list[tuple[str, Mapping[str, str]]] = []
        """Every call of `read_files`: (image, labels)."""
        self.available = True
        """False: every call raises RunnerUnavailableError; running containers continue."""
        self.enforced = frozenset(Limit)
        """What `limits` returns."""
        self.unusable: dict[str, str] = {}
        """CDI name -> what `try_device` returns."""
        self.tried: list[tuple[str, Mapping[str, str]]] = []
        """Every call of `try_device`: (device, labels)."""
        self.space = Space(free=100 << 30, total=200 << 30)
        """What `image_space` returns."""
        self.pulls: list[tuple[str, str, bool]] = []
        """Every call of `pull_image`: (name, the login's user or an empty text, insecure)."""
        self.checks: list[tuple[str, bool]] = []
        """Every call of `check_image`: (image, contents)."""
        self._images = MemoryImages()
        self.pulling = self._images.pulling
        """The names that are being pulled now."""
        self._containers: dict[str, MemoryContainer] = {}
        self._networks = MemoryNetworks()
        self._blocked: dict[str, asyncio.Event] = {}
        self._create_errors: dict[str, list[Exception]] = {}
        self._start_errors: dict[str, list[Exception]] = {}
        self._kept: set[str] = set()
        self._changed = asyncio.Condition()

    # --- what the test arranges -------------------------------------------------------------

    def add_image(
        self,
        name: str,
        program: Program,
        *,
        user: str = "",
        entrypoint: tuple[str, ...] = (),
        command: tuple[str, ...] = (),
        ports: tuple[int, ...] = (),
        files: Mapping[str, bytes] | None = None,
        listens: Mapping[int, Handler] | None = None,
        reserved: tuple[str, ...] = (),
    ) -> Image:
        """Adds an image to the device. An existing image with that name loses it.

        `listens`: the ports on which its containers accept connections while they run.
        """
        return self._images.add(
            name,
            program,
            user=user,
            entrypoint=entrypoint,
            command=command,
            ports=ports,
            files=files,
            listens=listens,
            reserved=reserved,
        )

    def drop_image(self, reference: str) -> None:
        """Removes an image from the device; containers created from it stay."""
        self._images.remove(reference)

    def damage_image(self, reference: str, *, contents: bool = False) -> None:
        """Marks an image as damaged until it is removed. `contents`: only a check of its contents
        finds it.
        """
        self._images.damage(reference, contents=contents)

    def add_archive(self, archive: Path, name: str, program: Program) -> None:
        """Makes `load_image(archive)` load an image; without this it raises InvalidImageError."""
        self._images.add_archive(archive, name, program)

    def add_remote_image(self, name: str, program: Program, login: Login | None = None) -> None:
        """Adds an image to its registry; with `login`, only that login may pull it."""
        self._images.add_remote(name, program, login)

    def fail_pull(self, name: str, error: ClaraedgeError) -> None:
        """Makes every `pull_image` of this name raise `error`."""
        self._images.fail_pull(name, error)

    def block_pull(self, name: str) -> None:
        """Makes pulls of this name wait until `release_pull`."""
        self._images.block_pull(name)

    def release_pull(self, name: str) -> None:
        """Lets the waiting pulls of this name continue."""
        self._images.release_pull(name)

    def block(self, operator: str) -> None:
        """Makes containers of this operator wait after their start, before they work, until
        `release`.
        """
        self._blocked.setdefault(operator, asyncio.Event())

    def release(self, operator: str) -> None:
        """Lets the waiting containers of this operator work, and all later ones."""
        gate = self._blocked.pop(operator, None)
        if gate is not None:
            gate.set()

    def fail_create(self, operator: str, reason: str = "refused") -> None:
        """Makes the next `create` for this operator raise ContainerError; n calls affect n
        creations.
        """
        self._create_errors.setdefault(operator, []).append(ContainerError(reason))

    def fail_start(self, operator: str, reason: str = "refused") -> None:
        """Makes the next `start` of this operator raise ContainerError; n calls affect n starts."""
        self._start_errors.setdefault(operator, []).append(ContainerError(reason))

    def refuse_removal(self, operator: str) -> None:
        """Makes every later `remove` of this operator's containers raise ContainerError."""
        self._kept.add(operator)

    def refuse_networks(self, reason: str | None) -> None:
        """Makes every `create_network` raise NetworkError with this reason; None ends that."""
        self._networks.refusal = reason

    def vanish(self, operator: str) -> None:
        """Removes the containers of this operator as somebody with `podman rm -f` would."""
        for entry in self._of(operator):
            entry.kill(Exit(cause=ExitCause.VANISHED))
            del self._containers[entry.id]

    def lose_supervisor(self, operator: str) -> None:
        """Ends the running containers of this operator with an unknown exit code.

        As on a machine, they seem to run until somebody waits for them, and are then removed.
        """
        for entry in self._of(operator):
            if entry.phase is Phase.RUNNING:
                entry.kill(Exit(cause=ExitCause.LOST_SUPERVISOR))
                entry.phase = Phase.RUNNING

    def run_out_of_memory(self, operator: str) -> None:
        """Kills the running containers of this operator as the kernel does at a memory limit."""
        for entry in self._of(operator):
            if entry.phase is Phase.RUNNING:
                entry.kill(Exit(cause=ExitCause.EXITED, code=KILLED, out_of_memory=True))

    def cut_power(self) -> None:
        """Simulates a restart of the machine: running containers become INTERRUPTED, the others
        stay.
        """
        for entry in self._containers.values():
            if entry.phase is Phase.RUNNING:
                entry.kill(Exit(cause=ExitCause.VANISHED))
                entry.phase = Phase.INTERRUPTED

    async def running(self, operator: str) -> ContainerSpec:
        """Waits until a container of this operator runs, and returns its spec; the caller sets a
        deadline.
        """
        async with self._changed:
            await self._changed.wait_for(
                lambda: any(e.phase is Phase.RUNNING for e in self._of(operator))
            )
        return next(e.spec for e in self._of(operator) if e.phase is Phase.RUNNING)

    # --- the protocol -----------------------------------------------------------------------

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

    async def create_network(self, name: str, labels: Mapping[str, str]) -> Network:
        self._check()
        return self._networks.create(name, labels)

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
        if entry is None or network not in self._networks:
            raise NetworkError(f"container {container} could not be put on network {network}")
        entry.networks.setdefault(network, address)

    @asynccontextmanager
    async def dial(
        self, container: str, address: str, port: int
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        self._check()
        entry = self._containers.get(container)
        runs = entry is not None and entry.phase is Phase.RUNNING
        handler = None if entry is None else self._images.handler(entry.spec.image, port)
        if entry is None or not runs or handler is None or address not in entry.networks.values():
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

    def _of(self, operator: str) -> list[MemoryContainer]:
        return [e for e in self._containers.values() if e.operator == operator]
