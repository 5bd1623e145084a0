"""Containers without a machine: a Runner whose images are Python coroutines.

Shipped for tests of whatever stands on the Runner protocol. A program gets the ContainerSpec and
works on the real folders of its mounts:

    runner = MemoryRunner()

    async def copy(spec: ContainerSpec) -> int:
        (host_path(spec, "/output") / "a").write_text("done")
        write_log(spec, "one line")
        return 0

    runner.add_image("app:1", copy)

The containers live in the runner as they live in a machine: a second engine over the same runner
finds and adopts what the first one started. Faults are asked for by the operator's name (the label
LABEL_OPERATOR), so that a test says them before the job starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from claraedge.clock import SystemClock, rfc3339
from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    InvalidImageError,
    NetworkError,
    RunnerUnavailableError,
)
from claraedge.ids import new_id
from claraedge.runner.protocol import (
    LABEL_OPERATOR,
    LABEL_SERVICE_NAME,
    MAX_FILE,
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
from claraedge.runner.references import means

#: What an image does: its exit code. Cancelled by `stop`, as a process is by TERM.
Program = Callable[[ContainerSpec], Awaitable[int]]

#: What takes a connection to a container: called with the streams of its side.
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_TERMINATED, _KILLED = 143, 137


@dataclass(slots=True)
class _Container:
    id: str
    spec: ContainerSpec
    phase: Phase = Phase.CREATED
    exit: Exit | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ended_at: float | None = None
    task: asyncio.Task[None] | None = None
    networks: dict[str, str] = field(default_factory=dict)

    def end(self, exit_: Exit) -> None:
        if self.exit is None:
            self.exit = exit_
            self.phase = Phase.STOPPED
            self.ended_at = SystemClock().now()
            self.ended.set()


class MemoryRunner:
    """An in-memory Runner. All its methods belong to one event loop."""

    def __init__(self) -> None:
        self.created: list[ContainerSpec] = []
        """Every container that was made, in order."""
        self.started: list[ContainerSpec] = []
        """Every start there was, in order: an operator that ran twice is here twice."""
        self.stops: list[tuple[str, float]] = []
        """Every `stop` there was: (operator, grace in seconds)."""
        self.halves: set[str] = set()
        """What `half_made` tells of; `remove` takes a name away."""
        self.reclaimed: list[Path] = []
        self.files_read: list[tuple[str, Mapping[str, str]]] = []
        """Every `read_files` there was: (image, labels)."""
        self.available = True
        """False: every call raises RunnerUnavailableError; what runs goes on."""
        self.enforced = frozenset(Limit)
        """What `limits` answers."""
        self._images: dict[str, tuple[Image, Program]] = {}
        self.space = Space(free=100 << 30, total=200 << 30)
        """What `image_space` answers."""
        self.pulls: list[tuple[str, str, bool]] = []
        """Every `pull_image` there was: (name, the login's user or nothing, insecure)."""
        self.pulling: set[str] = set()
        """The names that are pulled now."""
        self._remote: dict[str, tuple[Program, Login | None]] = {}
        self._pull_errors: dict[str, ClaraedgeError] = {}
        self._held_pulls: dict[str, asyncio.Event] = {}
        self._files: dict[str, Mapping[str, bytes]] = {}
        self._archives: dict[Path, list[str]] = {}
        self._containers: dict[str, _Container] = {}
        self._held: dict[str, asyncio.Event] = {}
        self._create_errors: dict[str, list[Exception]] = {}
        self._start_errors: dict[str, list[Exception]] = {}
        self._kept: set[str] = set()
        self._networks: dict[str, Network] = {}
        self._subnets = itertools.count()
        self._network_error: str | None = None
        self._handlers: dict[tuple[str, int], Handler] = {}
        self._serving: set[asyncio.Task[None]] = set()
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
    ) -> Image:
        """Puts an image on the device. The same name again moves it to the new image.

        `listens`: the ports that its containers take connections at while they run.
        """
        content = hashlib.sha256(f"{name} {len(self._images)}".encode()).hexdigest()
        for image_id, (old, old_program) in self._images.items():
            kept = tuple(n for n in old.names if n != name)
            self._images[image_id] = (replace(old, names=kept), old_program)
        image = Image(
            id=content,
            names=(name,),
            digests=(f"{name.rpartition(':')[0]}@sha256:{content}",),
            size=1,
            created=0.0,
            user=user,
            entrypoint=entrypoint,
            command=command,
            ports=ports,
        )
        self._images[content] = (image, program)
        self._handlers |= {(content, port): each for port, each in (listens or {}).items()}
        self._files[content] = files or {}
        return image

    def remove_image(self, reference: str) -> None:
        """Takes an image from the device; containers made of it stay."""
        image = self._find(reference)
        if image is not None:
            del self._images[image.id]

    def add_archive(self, archive: Path, name: str, program: Program) -> None:
        """Makes `load_image(archive)` load an image; without this it is an InvalidImageError."""
        image = self.add_image(name, program)
        self._archives.setdefault(archive, []).append(image.id)

    def add_remote_image(self, name: str, program: Program, login: Login | None = None) -> None:
        """Puts an image in its registry, which gives it to everyone, or to `login` alone."""
        self._remote[name] = (program, login)

    def fail_pull(self, name: str, error: ClaraedgeError) -> None:
        """Every `pull_image` of this name raises this."""
        self._pull_errors[name] = error

    def hold_pull(self, name: str) -> None:
        """Pulls of this name hang until `release_pull`."""
        self._held_pulls.setdefault(name, asyncio.Event())

    def release_pull(self, name: str) -> None:
        """Lets the pulls of this name go on."""
        self._held_pulls.pop(name).set()

    def hold(self, operator: str) -> None:
        """Containers of this operator, once started, wait with their work until `release`."""
        self._held.setdefault(operator, asyncio.Event())

    def release(self, operator: str) -> None:
        """Lets the held containers of this operator work, and those to come."""
        gate = self._held.pop(operator, None)
        if gate is not None:
            gate.set()

    def fail_create(self, operator: str, reason: str = "refused") -> None:
        """The next `create` for this operator raises ContainerError; call it n times for n."""
        self._create_errors.setdefault(operator, []).append(ContainerError(reason))

    def fail_start(self, operator: str, reason: str = "refused") -> None:
        """The next `start` of this operator raises ContainerError; call it n times for n."""
        self._start_errors.setdefault(operator, []).append(ContainerError(reason))

    def refuse_removal(self, operator: str) -> None:
        """Every `remove` of this operator's containers raises ContainerError from now on."""
        self._kept.add(operator)

    def refuse_networks(self, reason: str | None) -> None:
        """Every `create_network` raises NetworkError with this reason; None: no more."""
        self._network_error = reason

    def vanish(self, operator: str) -> None:
        """Removes the containers of this operator as somebody with `podman rm -f` does."""
        for entry in self._of(operator):
            self._kill(entry, Exit(cause=ExitCause.VANISHED))
            del self._containers[entry.id]

    def lose_supervisor(self, operator: str) -> None:
        """Ends the running containers of this operator with an exit code that nobody knows.

        As in a machine, they seem to run until somebody waits for them, and are removed then.
        """
        for entry in self._of(operator):
            if entry.phase is Phase.RUNNING:
                self._kill(entry, Exit(cause=ExitCause.LOST_SUPERVISOR))
                entry.phase = Phase.RUNNING

    def run_out_of_memory(self, operator: str) -> None:
        """Kills the running containers of this operator as the kernel does at a memory limit."""
        for entry in self._of(operator):
            if entry.phase is Phase.RUNNING:
                self._kill(entry, Exit(cause=ExitCause.EXITED, code=_KILLED, out_of_memory=True))

    def cut_power(self) -> None:
        """What a restart of the machine leaves: what ran is INTERRUPTED, the rest stays."""
        for entry in self._containers.values():
            if entry.phase is Phase.RUNNING:
                self._kill(entry, Exit(cause=ExitCause.VANISHED))
                entry.phase = Phase.INTERRUPTED

    async def running(self, operator: str) -> ContainerSpec:
        """Returns once a container of this operator runs; the caller sets the deadline."""
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
        return self._find(reference)

    async def list_images(self) -> Sequence[Image]:
        self._check()
        return [image for image, _ in self._images.values()]

    async def load_image(self, archive: Path) -> Sequence[Image]:
        self._check()
        if archive not in self._archives:
            raise InvalidImageError(f"{archive.name} holds no image")
        return [self._images[i][0] for i in self._archives[archive] if i in self._images]

    async def read_files(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        self._check()
        self.files_read.append((image, dict(labels)))
        if image not in self._images:
            raise ImageNotFoundError(f"image {image} is not on this device any more")
        held = {path: self._files[image][path] for path in paths if path in self._files[image]}
        for path, content in held.items():
            if len(content) > MAX_FILE:
                raise InvalidImageError(f"{path} of image {image} is larger than {MAX_FILE} bytes")
        return held

    async def pull_image(
        self, name: str, *, login: Login | None, insecure: bool, limit: float
    ) -> Image:
        self._check()
        self.pulls.append((name, login.username if login else "", insecure))
        self.pulling.add(name)
        try:
            async with asyncio.timeout(limit):
                if name in self._held_pulls:
                    await self._held_pulls[name].wait()
        except TimeoutError as error:
            raise ImagePullError(f"it did not come within {limit:g} s") from error
        finally:
            self.pulling.discard(name)
        if name in self._pull_errors:
            raise self._pull_errors[name]
        if name not in self._remote:
            raise ImageNotFoundError("manifest unknown")
        program, wanted = self._remote[name]
        if wanted is not None and wanted != login:
            raise ImageDeniedError("unauthorized")
        return self.add_image(name, program)

    async def image_space(self) -> Space:
        self._check()
        return self.space

    async def create(self, spec: ContainerSpec) -> str:
        self._check()
        errors = self._create_errors.get(_name(spec))
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
        entry = _Container(id=(new_id() + new_id()), spec=spec, networks=dict(spec.networks))
        self._containers[entry.id] = entry
        self.created.append(spec)
        return entry.id

    async def start(self, container: str) -> None:
        self._check()
        entry = self._containers.get(container)
        if entry is None:
            raise ContainerError(f"there is no container {container}")
        errors = self._start_errors.get(_operator(entry))
        if errors:
            raise errors.pop(0)
        if entry.phase is Phase.RUNNING:
            return
        if entry.phase is not Phase.CREATED:
            raise ContainerError(f"container {container} was started before")
        entry.phase = Phase.RUNNING
        self.started.append(entry.spec)
        program = self._images[entry.spec.image][1]
        entry.task = asyncio.create_task(self._work(entry, program), name=entry.spec.name)
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
        self.stops.append((_operator(entry), grace))
        entry.task.cancel()
        await asyncio.wait([entry.task], timeout=grace)
        entry.end(Exit(cause=ExitCause.EXITED, code=_KILLED))
        return True

    async def remove(self, container: str) -> None:
        self._check()
        self.halves.discard(container)
        entry = self._containers.get(container)
        if entry is not None and _operator(entry) in self._kept:
            raise ContainerError(f"container {container} could not be removed")
        if entry is not None:
            del self._containers[container]
            self._kill(entry, Exit(cause=ExitCause.EXITED, code=_KILLED))

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Container]:
        self._check()
        return [
            Container(
                id=e.id,
                name=e.spec.name,
                labels=dict(e.spec.labels),
                phase=e.phase,
                exit_code=e.exit.code if e.exit and e.phase is Phase.STOPPED else None,
                ended=e.ended_at if e.phase is Phase.STOPPED else None,
                networks=tuple(e.networks),
            )
            for e in self._containers.values()
            if labels.items() <= e.spec.labels.items()
        ]

    async def half_made(self, prefix: str) -> Sequence[str]:
        self._check()
        return [name for name in self.halves if name.startswith(prefix)]

    async def create_network(self, name: str, labels: Mapping[str, str]) -> Network:
        self._check()
        if self._network_error is not None or name in self._networks:
            raise NetworkError(self._network_error or f"the network name {name} is in use")
        subnet = f"10.89.{next(self._subnets) % 256}.0/24"
        self._networks[name] = Network(name=name, labels=dict(labels), subnet=subnet)
        return self._networks[name]

    async def remove_network(self, name: str) -> None:
        self._check()
        if any(name in e.networks for e in self._containers.values()):
            raise NetworkError(f"network {name} could not be removed: it is being used")
        self._networks.pop(name, None)

    async def networks(self, labels: Mapping[str, str]) -> Sequence[Network]:
        self._check()
        return [n for n in self._networks.values() if labels.items() <= n.labels.items()]

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
        handler = self._handlers.get((entry.spec.image, port)) if entry is not None else None
        if entry is None or not runs or handler is None or address not in entry.networks.values():
            raise ConnectionRefusedError(f"nothing listens on {address}:{port}")
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        serving = asyncio.ensure_future(_serve(theirs, handler))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        try:
            yield reader, writer
        finally:
            writer.close()
            serving.cancel()

    async def reclaim(self, folder: Path) -> None:
        self._check()
        self.reclaimed.append(folder)

    # --- inside -----------------------------------------------------------------------------

    def _check(self) -> None:
        if not self.available:
            raise RunnerUnavailableError("the in-memory runner was made unavailable")

    def _find(self, reference: str) -> Image | None:
        found = (image for image, _ in self._images.values() if means(reference, image))
        return next(found, None)

    def _of(self, operator: str) -> list[_Container]:
        return [e for e in self._containers.values() if _operator(e) == operator]

    async def _work(self, entry: _Container, program: Program) -> None:
        try:
            gate = self._held.get(_operator(entry))
            if gate is not None:
                await gate.wait()
            entry.end(Exit(cause=ExitCause.EXITED, code=await program(entry.spec)))
        except asyncio.CancelledError:
            entry.end(Exit(cause=ExitCause.EXITED, code=_TERMINATED))
        except Exception as error:  # noqa: BLE001 a crash of the program is an exit of the operator
            write_log(entry.spec, f"{type(error).__name__}: {error}", stream="stderr")
            entry.end(Exit(cause=ExitCause.EXITED, code=1))

    def _kill(self, entry: _Container, exit_: Exit) -> None:
        entry.end(exit_)
        if entry.task is not None:
            entry.task.cancel()


def host_path(spec: ContainerSpec, path: str) -> Path:
    """The place on the host of a path in the container; the longest mount target wins.

    Raises LookupError where no mount holds it: a program of MemoryRunner has no root of its own.
    """
    inside = PurePosixPath(path)
    mounts = sorted(spec.mounts, key=lambda mount: len(mount.target), reverse=True)
    for mount in mounts:
        if inside.is_relative_to(mount.target):
            return mount.source / inside.relative_to(mount.target)
    raise LookupError(f"{path} lies in no mount of {spec.name}")


def write_log(spec: ContainerSpec, text: str, *, stream: str = "stdout", now: float = 0.0) -> None:
    """Appends whole lines to the container's log, in the k8s-file form that conmon writes."""
    time = rfc3339(now)
    with spec.log_path.open("a", encoding="utf-8") as file:
        file.writelines(f"{time} {stream} F {line}\n" for line in text.splitlines())


async def _serve(side: socket.socket, handler: Handler) -> None:
    reader, writer = await asyncio.open_connection(sock=side)
    try:
        await handler(reader, writer)
    finally:
        writer.close()


def _operator(entry: _Container) -> str:
    return _name(entry.spec)


def _name(spec: ContainerSpec) -> str:
    """The operator's, or of what runs beside jobs the service's."""
    return spec.labels.get(LABEL_OPERATOR) or spec.labels.get(LABEL_SERVICE_NAME, "")
