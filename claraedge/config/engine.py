"""`[engine]`, `[services]`, `[inference]` and `[jobs]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from claraedge.config.sections import Count, Megabytes, Seconds, Section, Text

#: CDI 0.5, kinds. Podman 4.3 panics on a class of one character, and reads one with a dot as a
#: path.
_CDI_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_-]*[A-Za-z0-9]")


class EngineSettings(Section, frozen=True, kw_only=True):
    """`[engine]`: how operators run."""

    max_operators: Count | None = None
    """Maximum number of operators that run at the same time. Default: twice the number of cores."""
    grace_seconds: Seconds = 15.0
    """Time between SIGTERM and SIGKILL when a container is stopped."""
    timeout_seconds: Seconds = 600.0
    """Time limit of a job's operators, together, if its pipeline does not set `timeout`. At most
    `timeout_max_seconds`."""
    timeout_max_seconds: Annotated[float, msgspec.Meta(gt=0, le=7 * 86400)] = 1800.0
    """Upper bound of this time limit, whatever `timeout` a pipeline sets."""
    cdi_kind: Text = "nvidia.com/gpu"
    """The CDI kind whose devices are the GPUs of this machine, as `vendor.com/class`."""
    visible_devices: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x20]+$")] = "void"
    """Value of `NVIDIA_VISIBLE_DEVICES` in containers that have a GPU, unless the CDI spec sets it.
    No spaces. All other containers get `void`."""
    gpu_memory_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None = None
    """Memory of each GPU that operators may share. Default: the smallest GPU's memory as the driver
    reports it."""
    requests_profile: Literal["0.8", "0.7"] = "0.8"
    """Meaning of an operator's `requests`. `0.8`, as in Clara 0.8: `memory` is a limit, 1024 MB if
    it is not set. `0.7`, as in Clara 0.7: `memory` is a minimum, 512 MB if it is not set, and there
    is no limit."""
    user_namespace: Literal["host", "nomap"] = "host"
    """Mapping of container users to users of this machine, as in `podman run --userns`. `host`:
    root is the user of the daemon, other users are subordinate ids. `nomap`: root is a subordinate
    id as well; each image is stored twice, and copied for its first container."""
    operator_log_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 64
    """Maximum size of the log of one attempt of an operator. A longer log keeps its first and its
    last half of this size."""
    shared_memory_mb: Megabytes | None = None
    """Size of `/dev/shm` in each operator and service, unless the manifest of its image sets one.
    Default: the container's memory limit; without a limit, half of the machine's memory."""
    scratch_mb: Megabytes | None = None
    """Size of each of `/tmp`, `/var/tmp` and `/run`, which are in memory in operators and services
    with a read-only root file system. Default: the container's memory limit; without a limit, half
    of the machine's memory."""
    shared_memory_dir: Path = Path("/dev/shm")  # noqa: S108 names in it are ours alone
    """A folder on a tmpfs, for the values that operators pass to each other in shared memory."""


class ServicesSettings(Section, frozen=True, kw_only=True):
    """`[services]`: containers that pipelines declare as services."""

    idle_seconds: Seconds = 300.0
    """Time after which a service that no job uses is stopped."""
    start_seconds: Seconds = 120.0
    """Maximum time from the start of a service until it accepts connections."""
    restarts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    """Number of times, within ten minutes, that a service which exits while jobs use it is
    restarted."""


class InferenceSettings(Section, frozen=True, kw_only=True):
    """`[inference]`: the inference server, which keeps the models of operators loaded."""

    image: Text = "nvcr.io/nvidia/tritonserver:24.08-py3"
    """Container image of the inference server."""
    command: tuple[str, ...] = (
        "tritonserver",
        "--model-repository=/models",
        "--model-control-mode=explicit",
    )
    """Arguments of the image's entry point. The models are at `/models`, read-only."""
    http_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    """Port on which the server accepts HTTP; passed to operators."""
    grpc_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8001
    """Port on which the server accepts gRPC; passed to operators. Must differ from `http_port`."""
    gpus: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1
    """Number of GPUs for the server; all GPUs where the machine has fewer."""
    memory: Megabytes | None = None
    """Memory limit of the server. Default: no limit."""
    shared_memory: Megabytes = 1024
    """Size of `/dev/shm` in the server's container."""
    model_limit: Count = 8
    """Maximum number of models that are loaded at the same time."""
    idle_seconds: Seconds = 300.0
    """Time after which a server that no job uses is stopped, which frees its GPU."""
    start_seconds: Seconds = 120.0
    """Maximum time from the start of the server until it is ready."""
    load_seconds: Seconds = 300.0
    """Maximum time to load one model."""
    restarts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    """Number of times, within ten minutes, that a server which exits while jobs use it is
    restarted."""


class JobsSettings(Section, frozen=True, kw_only=True):
    """`[jobs]`: how long jobs may wait to be started."""

    unstarted_after_hours: Annotated[float, msgspec.Meta(gt=0, le=87600)] = 24.0
    """Time after which a job that nobody has started is removed with its payload."""


def mistakes_of(engine: EngineSettings, inference: InferenceSettings) -> list[str]:
    """What is wrong beyond types: settings that would have no effect."""
    mistakes = []
    if not _CDI_KIND.fullmatch(engine.cdi_kind):
        mistakes.append(
            f"engine.cdi_kind: {engine.cdi_kind!r} is no CDI kind that Podman accepts; write it as"
            " in the CDI spec, `vendor.com/class`, each part with two characters or more and the"
            " second one without a dot"
        )
    if engine.timeout_seconds > engine.timeout_max_seconds:
        mistakes.append(
            f"engine.timeout_seconds: {engine.timeout_seconds:g} has no effect beyond"
            f" timeout_max_seconds, which is {engine.timeout_max_seconds:g}; raise that as well"
        )
    if inference.http_port == inference.grpc_port:
        mistakes.append(
            f"inference.grpc_port: {inference.grpc_port} is the http_port as well; choose another"
        )
    return mistakes
