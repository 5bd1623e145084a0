"""The protocol between the engine and whatever runs containers.

`podman.PodmanRunner` is the product's implementation; `memory.MemoryRunner` is shipped for tests of
the engine.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

#: Labels of every container that claraedge creates for an operator. At start, the daemon compares
#: the containers that carry them with the rows of the database.
LABEL_INSTANCE = "io.claraedge.instance"
LABEL_JOB = "io.claraedge.job"
LABEL_OPERATOR = "io.claraedge.operator"
LABEL_ATTEMPT = "io.claraedge.attempt"
#: The CDI names of the container's GPUs, separated by commas; empty where it has none.
LABEL_DEVICES = "io.claraedge.devices"

#: Labels of containers that run alongside jobs (services): the owning instance, the service's id,
#: and its name for people. Networks of jobs carry LABEL_INSTANCE and LABEL_PEERS; the latter names
#: the services on the network.
LABEL_SERVICES = "io.claraedge.services"
LABEL_SERVICE = "io.claraedge.service"
LABEL_SERVICE_NAME = "io.claraedge.service-name"
LABEL_PEERS = "io.claraedge.peers"
#: More labels of services: the digest of the specification that the container was created from, its
#: GPUs, and the megabytes of memory reserved for it.
LABEL_RECIPE = "io.claraedge.recipe"
LABEL_GPUS = "io.claraedge.gpus"
LABEL_MEMORY = "io.claraedge.memory"
#: Labels of the containers of deployments: the owning instance, the deployment, the executable (or
#: the component, for a holder of its network namespace), and its name for people. They carry
#: LABEL_RECIPE, LABEL_GPUS and LABEL_MEMORY as well.
LABEL_DEPLOYMENTS = "io.claraedge.deployments"
LABEL_DEPLOYMENT = "io.claraedge.deployment"
LABEL_EXECUTABLE = "io.claraedge.executable"
LABEL_EXECUTABLE_NAME = "io.claraedge.executable-name"
#: Labels of the containers that record ROS bags: the owning instance, the job, and its name for
#: people. They carry LABEL_DEPLOYMENT as well.
LABEL_BAGS = "io.claraedge.bags"
LABEL_BAG_JOB = "io.claraedge.bag-job"
LABEL_BAG_JOB_NAME = "io.claraedge.bag-job-name"
#: Labels of private networks and their ROS masters: the owning instance, the network, and the
#: master's name for people.
LABEL_NETWORKS = "io.claraedge.networks"
LABEL_NETWORK = "io.claraedge.network"
LABEL_NETWORK_NAME = "io.claraedge.network-name"
#: A label that a runner sets: `ContainerSpec.joins`.
LABEL_JOINS = "io.claraedge.joins"
#: A label of every container: the name of its systemd slice, and the number of out-of-memory kills
#: counted there before the container was created, as in `claraedge-3.slice 17`.
LABEL_SLICE = "io.claraedge.slice"
#: All labels that are read back from containers. A runner sets each of them, to an empty value
#: where the spec does not give one.
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
    LABEL_DEPLOYMENTS,
    LABEL_DEPLOYMENT,
    LABEL_EXECUTABLE,
    LABEL_EXECUTABLE_NAME,
    LABEL_BAGS,
    LABEL_BAG_JOB,
    LABEL_BAG_JOB_NAME,
    LABEL_NETWORKS,
    LABEL_NETWORK,
    LABEL_NETWORK_NAME,
    LABEL_JOINS,
    LABEL_SLICE,
)

#: Used in place of a network's name: the container reaches whatever this machine reaches, but no
#: container of ours.
OUTSIDE = "outside"

#: Size in bytes of the largest file that is read out of an image.
MAX_FILE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A folder of the host that is mounted into the container."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """The complete description of one container. Nothing is inherited from the daemon's
    environment.
    """

    name: str
    """Unique for each attempt."""
    image: str
    """An image id, never a name, so that exactly the resolved image runs. Empty where `root` is
    set.
    """
    root: Path | None = None
    """A folder of this machine that serves as root file system in place of an image."""
    command: tuple[str, ...] = ()
    """Docker's CMD: the arguments of the entry point, or the program itself. Empty: the image's
    own.
    """
    entrypoint: tuple[str, ...] = ()
    """Replaces the image's ENTRYPOINT; the image's CMD is then ignored. Empty: the image's own."""
    working_dir: str | None = None
    """An absolute path of an existing folder in the container; None: the image's own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[BindMount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    log_path: Path
    """Path of the log in k8s-file format. The folder has to exist."""
    log_size: int | None = None
    """Size in bytes at which the log is truncated and restarted, losing what it contained. None:
    unlimited.
    """
    memory: int | None = None
    """Memory limit in bytes, enforced only where cgroup v2 is delegated to this user."""
    shared_memory: int | None = None
    """Size of /dev/shm in bytes; None: half of the machine's memory."""
    scratch: int | None = None
    """Size in bytes of each tmpfs at /tmp, /run and /var/tmp; None: half of the
    machine's memory.
    """
    pids: int = 4096
    cpu: float | None = None
    """Cores that it may use, such as 0.5, where the machine enforces that. None: all."""
    devices: tuple[str, ...] = ()
    """CDI device names, `vendor/class=name`."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Networks of the container -> its IPv4 address there (empty: any free one); or OUTSIDE alone.
    Empty: the container has no network, unless it joins that of another.
    """
    joins: str = ""
    """Id of a container (a holder: `Runner.holds`) whose network namespace it shares, with its
    addresses and its localhost; `networks` is then empty. Empty: it has a namespace of its own.
    """
    writable_root: bool = False
    """Whether the root file system is writable. Otherwise it is read-only, and /tmp, /run and
    /var/tmp are tmpfs.
    """


class Limit(enum.Enum):
    """Limits that a runner can set for a container, where the machine supports them."""

    MEMORY = "memory"
    PIDS = "pids"
    CPU = "cpu"


class Phase(enum.Enum):
    """The phase of a container in its life cycle."""

    CREATED = "created"
    """Created or initialised, but never started."""
    RUNNING = "running"
    STOPPED = "stopped"
    """Its process has ended, and the exit code is known."""
    INTERRUPTED = "interrupted"
    """Was started and then cut off by a restart of the machine: Podman reports `created` with a
    start time.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as it exists on the machine."""

    id: str
    name: str
    labels: Mapping[str, str]
    phase: Phase
    exit_code: int | None = None
    """Set only in the phase STOPPED."""
    ended: float | None = None
    """Set only in the phase STOPPED: the time of the exit in Unix seconds, possibly
    whole seconds.
    """
    networks: tuple[str, ...] = ()
    """Names of the networks that the container is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that connects containers with each other and with no other containers."""

    name: str
    labels: Mapping[str, str]
    subnet: str | None
    """Its IPv4 subnet, such as `10.89.1.0/24`; None where it has none."""
    outside: bool = False
    """Whether containers on it reach what this machine reaches."""


class ExitCause(enum.Enum):
    """The reason why a container ended."""

    EXITED = "exited"
    """Ended by itself or by a signal from anyone: the exit code shows it (128 + signal)."""
    LOST_SUPERVISOR = "exit code unknown: its supervisor (conmon) was killed"
    """conmon was killed, so that nobody recorded the exit code."""
    VANISHED = "its container is gone"
    """Removed by somebody else, or lost together with the storage: a fault of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a container ended."""

    cause: ExitCause
    code: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that is present on this device."""

    id: str
    """The image id: 64 hexadecimal digits."""
    names: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    """Size in bytes."""
    created: float
    """Time of creation in Unix seconds; 0 where the image does not give it."""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    """TCP ports that the image declares (EXPOSE), in ascending order."""
    manifest: str = ""
    """`sha256:...` of its manifest as it came to this device; empty where that is not known."""
    platform: str = ""
    """The platform that the image declares to be built for, such as `linux/arm64`; empty where it
    declares none.
    """
    reserved: tuple[str, ...] = ()
    """Annotations and labels in the image that are reserved for whoever runs containers, as
    `annotation NAME`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Describes how an image differs from what was stored."""

    text: str
    """A description of the damage, for people."""
    images: tuple[str, ...]
    """Ids of all images that the damage affects, the checked image first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Credentials for a registry."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Free and total space of a disk, in bytes."""

    free: int
    total: int


class Runner(Protocol):
    """Creates, starts, watches and removes containers. Every call is bounded in time.

    Any call may raise RunnerUnavailableError: Podman did not answer, and the outcome is unknown.
    The caller has to ask `containers()` before it acts again.
    """

    async def version(self) -> str:
        """Returns name and version of what runs the containers, such as `Podman 4.3.1`; empty where
        it does not answer.
        """
        ...

    async def limits(self) -> frozenset[Limit]:
        """Returns the limits of a ContainerSpec that this machine enforces; the others have no
        effect.
        """
        ...

    async def find_image(self, reference: str) -> Image | None:
        """Returns the image of a name (`repo:tag`, short or full) or id; None where it is not
        present.

        Raises DamagedImageError where it is present, but Podman cannot read it.
        """
        ...

    async def list_images(self) -> Sequence[Image]:
        """Returns all images. For an image that Podman cannot read, only id and names are set."""
        ...

    async def check_image(self, image: str, *, contents: bool) -> Damage | None:
        """Compares the layers of an image (given by id) with what was stored.

        Returns None where they are intact, or where nobody can find out. `contents`: reads the
        content of all files, unless they were read before and have not changed since; otherwise
        only file sizes are compared.
        """
        ...

    async def remove_image(self, reference: str, *, force: bool) -> None:
        """Removes an image by its id, or one name of an image, and with its last name the image.

        `force`: also removes the containers created from it. An image that does not exist is no
        error. Raises ImageInUseError if containers use it and `force` is false, and ContainerError
        if Podman refuses.
        """
        ...

    async def load_image(self, archive: Path) -> Sequence[Image]:
        """Loads a docker-archive or oci-archive tar, and returns the images in it.

        The images are synced to the disk before the call returns. Layers that are already present
        are not checked. Raises InvalidImageError if the archive has no image that can be read,
        StorageFullError if the disk is full, and DamagedImageError if Podman cannot read what was
        stored before.
        """
        ...

    async def read_files(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        """Returns the content of those of the given files that exist in an image. Symbolic links
        are resolved inside the image.

        `image` is an id. Nothing of the image is run; the container created for reading carries
        `labels` and is removed afterwards. Raises ImageNotFoundError, InvalidImageError for a file
        of more than `MAX_FILE` bytes, StorageFullError, and ContainerError if Podman refuses.
        """
        ...

    async def pull_image(
        self, name: str, *, login: Login | None, insecure: bool, limit: float
    ) -> Image:
        """Pulls the image of a full name from its registry, within `limit` seconds.

        `insecure`: over plain HTTP, or without a check of the certificate. When the caller is
        cancelled, the pull stops within a second; only complete layers may stay, for the next try.
        Raises ImageNotFoundError where the registry has no such image, ImageDeniedError,
        StorageFullError, or ImagePullError; the message of each is only the registry's reason.
        """
        ...

    async def image_space(self) -> Space:
        """Returns the space of the disk that images are stored on. Raises ImagePullError where it
        cannot be read.
        """
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Creates and initialises a container, and returns its id.

        Raises ImageNotFoundError, StorageFullError, ContainerError with Podman's reason or because
        the container that it joins holds no network namespace any more, or DeviceError because a
        device is missing in the container or its user cannot open it. After an error, and also
        when the caller is cancelled, no container is left.
        """
        ...

    async def holds(self, container: str) -> bool:
        """Returns whether a container is initialised and not started: it then holds a network
        namespace that other containers can join.
        """
        ...

    async def released(self, container: str) -> None:
        """Returns once `holds` is false: the networks of those that joined it are gone.

        Raises RunnerUnavailableError only after Podman has not answered for a minute.
        """
        ...

    async def try_device(self, device: str, labels: Mapping[str, str]) -> str | None:
        """Returns why no container can get or use this CDI device; None where one can, as far as
        that can be found out without its image.

        Nothing is run; the container created for the test carries `labels` and is removed
        afterwards.
        """
        ...

    async def start(self, container: str) -> None:
        """Starts an initialised container. One that already runs is no error.

        Never call it for a container that has stopped: Podman would run it again. Raises
        ContainerError if Podman refuses.
        """
        ...

    async def wait(self, container: str) -> Exit:
        """Waits for the end of a started container, including one that another process started.

        A container that lost its supervisor, or whose exit code nobody can know, is removed
        together with its processes. Raises ContainerError for a container that was never started,
        and RunnerUnavailableError only after Podman has not answered for a minute.
        """
        ...

    async def stop(self, container: str, grace: float) -> bool:
        """Sends TERM, then KILL after `grace` seconds. Returns False where the container had
        already ended or does not exist.
        """
        ...

    async def remove(self, container: str) -> None:
        """Removes a container in any phase and kills its processes. One that does not exist is no
        error.

        Raises ContainerError if Podman does not remove it.
        """
        ...

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Container]:
        """Returns all containers that carry all these labels, in any phase."""
        ...

    async def half_made(self, prefix: str) -> Sequence[str]:
        """Returns the names, starting with `prefix`, of containers that were never completely
        created: their creator died meanwhile, or is creating them right now. Only `remove`, by
        name, accepts them.
        """
        ...

    async def create_network(
        self, name: str, labels: Mapping[str, str], *, outside: bool = False
    ) -> Network:
        """Creates a network; containers on it reach each other and no containers of other networks.

        `outside`: they also reach what this machine reaches, by numbers and by names. Raises
        NetworkError, also where the name is taken.
        """
        ...

    async def remove_network(self, name: str) -> None:
        """Removes a network that no container is on. One that does not exist is no error.

        Raises NetworkError, also where a container is on it.
        """
        ...

    async def networks(self, labels: Mapping[str, str]) -> Sequence[Network]:
        """Returns all networks that carry all these labels."""
        ...

    async def connect(self, container: str, network: str, address: str) -> None:
        """Connects a running container or a holder to one more network at this address; already
        connected: no error.

        The container stays connected until it is removed. Raises NetworkError if Podman refuses.
        """
        ...

    def dial(
        self, container: str, address: str, port: int, *, seconds: float = 5.0
    ) -> AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Opens a TCP connection from inside the network of a running container or a holder, until
        the context is left.

        Entering raises ConnectionError where nothing accepts the connection within `seconds`, or
        the container does not run, and another OSError if this machine cannot try it.
        """
        ...

    async def reclaim(self, folder: Path) -> None:
        """Makes a tree that containers wrote owned, readable and deletable by this user again.

        Raises ContainerError if that fails.
        """
        ...
