"""`[engine]`, `[services]`, `[inference]` and `[jobs]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from claraedge.config.sections import Count, Megabytes, Seconds, Section, Text

#: CDI 0.5, kinds. Podman 4.3 panics on a class of one character, and takes one with a dot for a
#: path.
_CDI_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_-]*[A-Za-z0-9]")


class Engine(Section, frozen=True, kw_only=True):
    """`[engine]`."""

    max_operators: Count | None = None
    """Operators that run at once. Default: twice the cores."""
    grace_seconds: Seconds = 15.0
    """Between TERM and KILL."""
    timeout_seconds: Seconds = 600.0
    """How long the operators of a job may run, where its pipeline says nothing."""
    timeout_max_seconds: Annotated[float, msgspec.Meta(gt=0, le=7 * 86400)] = 1800.0
    """How long they may run whatever its pipeline says."""
    cdi_kind: Text = "nvidia.com/gpu"
    """The CDI kind whose devices are this device's GPUs."""
    visible_devices: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x20]+$")] = "void"
    """NVIDIA_VISIBLE_DEVICES in containers that have a GPU, where the CDI spec does not set it. All
    other containers have `void`."""
    gpu_memory_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None = None
    """Memory of each GPU that operators share. Default: what the driver says."""
    requests_profile: Literal["0.8", "0.7"] = "0.8"
    """What an operator's `requests` mean: as in Clara 0.8, where memory is a limit (1024 MB if it
    is not written), or as in Clara 0.7, where it is a minimum (512 MB) and no limit is set."""
    user_namespace: Literal["host", "nomap"] = "host"
    """Whom users of a container are on this machine, as `podman run --userns`. `host`: root is the
    user of the daemon, others are subordinate ids. `nomap`: root is a subordinate id as well; each
    image is kept twice, and copied for its first container."""
    operator_log_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 64
    """How much is kept of what one attempt of an operator prints: the first half and the last."""
    shared_memory_mb: Megabytes | None = None
    """The /dev/shm of each operator and service. Default: as much as its `requests.memory`; where
    that is no limit, half of the device's memory."""
    scratch_mb: Megabytes | None = None
    """Each of their /tmp, /var/tmp and /run, which lie in memory. Default: the same."""
    shared_memory_dir: Path = Path("/dev/shm")  # noqa: S108 names in it are ours alone
    """A folder on a tmpfs, for operators' values in shared memory."""


class Services(Section, frozen=True, kw_only=True):
    """`[services]`: services of pipelines."""

    idle_seconds: Seconds = 300.0
    """One that no job uses ends after so long."""
    start_seconds: Seconds = 120.0
    """The longest from its start until it takes connections."""
    restarts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    """How often, within ten minutes, one that ends while jobs use it is started again."""


class Inference(Section, frozen=True, kw_only=True):
    """`[inference]`: the server that holds the models of operators ready."""

    image: Text = "nvcr.io/nvidia/tritonserver:24.08-py3"
    command: tuple[str, ...] = (
        "tritonserver",
        "--model-repository=/models",
        "--model-control-mode=explicit",
    )
    """Arguments of the image's entry point. The models lie at /models, read-only."""
    http_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    grpc_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8001
    """Where it listens; operators are told these."""
    gpus: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1
    """GPUs that it gets, where the device has so many; else those that there are."""
    memory: Megabytes | None = None
    """Its limit in megabytes. Default: none."""
    shared_memory: Megabytes = 1024
    """Megabytes of its /dev/shm."""
    model_limit: Count = 8
    """Models that it holds at once."""
    idle_seconds: Seconds = 300.0
    """It ends, and gives its GPU back, when no job has used it for so long."""
    start_seconds: Seconds = 120.0
    """The longest from its start until it is ready."""
    load_seconds: Seconds = 300.0
    """The longest that loading one model takes."""
    restarts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    """How often, within ten minutes, it is started again when it ends while jobs use it."""


class Jobs(Section, frozen=True, kw_only=True):
    """`[jobs]`."""

    unstarted_after_hours: Annotated[float, msgspec.Meta(gt=0, le=87600)] = 24.0
    """A job that is not started for so long is removed with its payload."""


def mistakes_of(engine: Engine, inference: Inference) -> list[str]:
    """What is wrong beyond types: settings that would have no effect."""
    mistakes = []
    if not _CDI_KIND.fullmatch(engine.cdi_kind):
        mistakes.append(
            f"engine.cdi_kind: {engine.cdi_kind!r} is no CDI kind that Podman takes; write it as in"
            " the CDI spec, `vendor.com/class`, each part with two characters or more and the"
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
