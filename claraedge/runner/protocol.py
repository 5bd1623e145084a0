"""What the engine asks of whatever runs containers.

`podman.PodmanRunner` is the product's; `memory.MemoryRunner` is shipped for tests of the engine.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

#: Every container that claraedge makes carries these; at start they are compared with the rows.
LABEL_INSTANCE = "io.claraedge.instance"
LABEL_JOB = "io.claraedge.job"
LABEL_OPERATOR = "io.claraedge.operator"
LABEL_ATTEMPT = "io.claraedge.attempt"
#: The CDI names of its GPUs, with commas between; only where it has some.
LABEL_DEVICES = "io.claraedge.devices"

#: Containers that run beside jobs carry these instead: whose they are, which one, and its name for
#: people. The networks of jobs carry LABEL_INSTANCE and LABEL_PEERS: which services are on one.
LABEL_SERVICES = "io.claraedge.services"
LABEL_SERVICE = "io.claraedge.service"
LABEL_SERVICE_NAME = "io.claraedge.service-name"
LABEL_PEERS = "io.claraedge.peers"
#: And these: the digest of the recipe that it was made by, the GPUs that it has, and the megabytes
#: of memory that are kept for it.
LABEL_RECIPE = "io.claraedge.recipe"
LABEL_GPUS = "io.claraedge.gpus"
LABEL_MEMORY = "io.claraedge.memory"
#: On each: its slice, and the kills there were before, as `claraedge-3.slice 17`.
LABEL_SLICE = "io.claraedge.slice"
#: All that is read from containers. A runner sets each of them, empty where a spec does not say it.
LABELS = (
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_OPERATOR,
    LABEL_ATTEMPT,
    LABEL_DEVICES,
    LABEL_SERVICES,
    LABEL_SERVICE,
    LABEL_SERVICE_NAME,
    LABEL_RECIPE,
    LABEL_GPUS,
    LABEL_MEMORY,
    LABEL_SLICE,
)

#: In place of a network's name: whatever this machine reaches, and no container of ours.
OUTSIDE = "outside"

#: Bytes of the largest file that is read out of an image.
MAX_FILE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder of the host in the container."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container, whole. Nothing is inherited from the daemon's own environment."""

    name: str
    """Unique per attempt."""
    image: str
    """An image id, never a name: what was resolved is what runs. Empty with `root`."""
    root: Path | None = None
    """A folder of this machine that is its root, in place of an image."""
    command: tuple[str, ...] = ()
    """Docker's CMD: arguments of the entry point, or the entry point itself. Empty: the image's."""
    entrypoint: tuple[str, ...] = ()
    """In place of the image's ENTRYPOINT; its CMD is not run then. Empty: the image's."""
    working_dir: str | None = None
    """Absolute in the container, where it has to be; None: the image's."""
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    log_path: Path
    """k8s-file log; its folder exists."""
    log_size: int | None = None
    """Bytes at which the log begins anew, and what was in it is gone. None: it grows."""
    memory: int | None = None
    """Limit in bytes, enforced where cgroup v2 is delegated."""
    shared_memory: int | None = None
    """Bytes of /dev/shm; None: half of the machine's memory."""
    scratch: int | None = None
    """Bytes of each tmpfs at /tmp, /run and /var/tmp; None: half of the machine's memory."""
    pids: int = 4096
    devices: tuple[str, ...] = ()
    """CDI names, `vendor/class=name`."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Networks that it is on -> its IPv4 address there, empty for any that is free; or OUTSIDE
    alone. Empty: it reaches nothing and nobody."""
    writable_root: bool = False
    """Root is read-only unless the operator asks otherwise; /tmp, /run and /var/tmp are tmpfs."""


class Limit(enum.Enum):
    """What a container may be kept to, where the machine can."""

    MEMORY = "memory"
    PIDS = "pids"


class Phase(enum.Enum):
    """Where a container is in its life."""

    CREATED = "created"
    """Made or initialised, never started."""
    RUNNING = "running"
    STOPPED = "stopped"
    """Its process is gone; the exit code is known."""
    INTERRUPTED = "interrupted"
    """Was started and the machine went down under it: Podman says `created` with a start time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as the machine has it."""

    id: str
    name: str
    labels: Mapping[str, str]
    phase: Phase
    exit_code: int | None = None
    """Only where the phase is STOPPED."""
    ended: float | None = None
    """Only there: when, in Unix seconds; whole ones, perhaps."""
    networks: tuple[str, ...] = ()
    """Names of those that it is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that joins containers with each other and with nothing else."""

    name: str
    labels: Mapping[str, str]
    subnet: str | None
    """Its IPv4 addresses, as `10.89.1.0/24`."""


class ExitCause(enum.Enum):
    """Why a container is no more."""

    EXITED = "exited"
    """By itself, or by a signal from anyone: the exit code says (128 + signal)."""
    LOST_SUPERVISOR = "exit code unknown: its supervisor (conmon) was killed"
    """conmon was killed; nobody recorded the code."""
    VANISHED = "its container is gone"
    """Removed by somebody else, or with the storage: the machine's doing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of a container."""

    cause: ExitCause
    code: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image on this device."""

    id: str
    """64 hex digits."""
    names: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    """Bytes."""
    created: float
    """Unix seconds."""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    """TCP ports that it says to listen on, in ascending order."""
    manifest: str = ""
    """`sha256:...` of its manifest as it came to this device; empty where that is not known."""
    platform: str = ""
    """What it says to be built for, as `linux/arm64`; empty where it does not."""
    reserved: tuple[str, ...] = ()
    """What it carries that only whoever runs containers may say, as `annotation NAME`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """An image that is not what was stored."""

    text: str
    """What of it, for people."""
    images: tuple[str, ...]
    """The ids of all images that it harms, the one that was looked at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who asks a registry for an image."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a disk has, in bytes."""

    free: int
    total: int


class Runner(Protocol):
    """Makes, starts, watches and removes containers. Every call is bounded in time.

    Any call may raise RunnerUnavailableError: Podman does not answer; nothing is known to have
    happened, and the caller asks `containers()` before it acts again.
    """

    async def version(self) -> str:
        """What runs the containers, for people: `Podman 4.3.1`; empty where it does not answer."""
        ...

    async def limits(self) -> frozenset[Limit]:
        """The limits of a ContainerSpec that this machine enforces; the others have no effect."""
        ...

    async def find_image(self, reference: str) -> Image | None:
        """The image of a name (`repo:tag`, short or full) or an id; None where it is not here.

        Raises DamagedImageError where it is here, and Podman cannot read it.
        """
        ...

    async def list_images(self) -> Sequence[Image]:
        """All images. One that Podman cannot read has its id and names, and nothing else."""
        ...

    async def check_image(self, image: str, *, contents: bool) -> Damage | None:
        """Whether the layers of an image, an id, are what was stored; None: they are, or nobody can
        tell.

        `contents`: all that is in its files is read, where it was not since they last changed; else
        only their sizes are compared.
        """
        ...

    async def remove_image(self, reference: str, *, force: bool) -> None:
        """Removes an image by its id, or one name of it and with the last the image.

        `force`: with the containers that are made of it. Gone already: no error. Raises
        ImageInUseError, ContainerError.
        """
        ...

    async def load_image(self, archive: Path) -> Sequence[Image]:
        """Loads a docker-archive or oci-archive tar, and returns the images in it.

        They are on the disk then. Layers that are here already are not looked at. Raises
        InvalidImageError, StorageFullError, and DamagedImageError where Podman cannot read what was
        there before.
        """
        ...

    async def read_files(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        """The content of those of these files that an image holds; links are followed inside it.

        `image` is an id. Nothing of it is run; what is made for reading carries the labels and is
        gone afterwards. Raises ImageNotFoundError, InvalidImageError for a file of more than
        `MAX_FILE` bytes, StorageFullError, ContainerError.
        """
        ...

    async def pull_image(
        self, name: str, *, login: Login | None, insecure: bool, limit: float
    ) -> Image:
        """Pulls the image of a full name from its registry, within `limit` seconds.

        `insecure`: over plain HTTP, or without a look at the certificate. Cancelled, it has stopped
        within a second; layers that came whole may stay for the next try, nothing else. Raises
        ImageNotFoundError where the registry has no such image, ImageDeniedError,
        StorageFullError, or ImagePullError; each with the registry's reason alone.
        """
        ...

    async def image_space(self) -> Space:
        """What the disk has that images are kept on."""
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Makes and initialises a container, and returns its id.

        Raises ImageNotFoundError, StorageFullError, or ContainerError: with Podman's reason, or
        DeviceError, because a device is not in the container or its user cannot open it. Then
        nothing is left, nor where the caller is cancelled.
        """
        ...

    async def try_device(self, device: str, labels: Mapping[str, str]) -> str | None:
        """Why no container can be given this CDI device, or none could use it; None: one can, as
        far as that can be seen without its image.

        Nothing is run; what is made for it carries the labels and is gone afterwards.
        """
        ...

    async def start(self, container: str) -> None:
        """Starts an initialised container; running already: no error. Raises ContainerError.

        Never call it for a container that has stopped: Podman would run it again.
        """
        ...

    async def wait(self, container: str) -> Exit:
        """The end of a started container: also of one that this process did not start.

        One that lost its supervisor, or whose code nobody can know, is removed with what runs of
        it. Raises ContainerError for a container that was never started, and
        RunnerUnavailableError only after a minute of it.
        """
        ...

    async def stop(self, container: str, grace: float) -> bool:
        """TERM, then KILL after `grace` seconds. False where it had ended before, or is gone."""
        ...

    async def remove(self, container: str) -> None:
        """Removes a container in any phase, killing what runs. Gone already: no error.

        Raises ContainerError.
        """
        ...

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Container]:
        """All containers that carry all these labels, in any phase."""
        ...

    async def half_made(self, prefix: str) -> Sequence[str]:
        """The names of containers that begin so and were never made whole, because what makes them
        died meanwhile; or that others make right now. Only `remove` knows them, by name.
        """
        ...

    async def create_network(self, name: str, labels: Mapping[str, str]) -> Network:
        """Makes a network without a way out. Raises NetworkError, also where the name is taken."""
        ...

    async def remove_network(self, name: str) -> None:
        """Removes a network that no container is on. Gone already: no error.

        Raises NetworkError, where a container is on it.
        """
        ...

    async def networks(self, labels: Mapping[str, str]) -> Sequence[Network]:
        """All networks that carry all these labels."""
        ...

    async def connect(self, container: str, network: str, address: str) -> None:
        """Puts a running container on one more network, at this address; there already: no error.

        It stays there until it is removed. Raises NetworkError.
        """
        ...

    def dial(
        self, container: str, address: str, port: int
    ) -> AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A TCP connection from inside the network of a running container, for as long as the
        context lasts.

        Entering raises ConnectionError where nothing listens there, or the container does not run.
        """
        ...

    async def reclaim(self, folder: Path) -> None:
        """Gives a tree that containers wrote back to this user: owned, readable, deletable.

        Raises ContainerError.
        """
        ...
