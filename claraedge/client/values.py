"""The plain values that calls return, and their JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp as UnixTimestamp

from claraedge.clock import rfc3339
from claraedge.pipelines.model import DefinitionFile
from claraedge.wire.nvidia.clara.platform.common_pb2 import Timestamp

#: Seconds from 0001-01-01T00:00:00Z, the epoch of the platform, to the Unix epoch.
_YEAR_ONE = 62135596800


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base class of all values. Times are aware datetimes in UTC; None means not yet."""


class PipelineInfo(Value, frozen=True, kw_only=True):
    """A pipeline as in the list of pipelines."""

    id: str
    name: str
    metadata: Mapping[str, str]


class ListedPipeline(PipelineInfo, frozen=True, kw_only=True):
    """A pipeline, with the file of `pipelines.d` that defines it."""

    source: str
    """Absolute path of the file; empty if the pipeline was created through the API."""


class PipelineFileInfo(Value, frozen=True, kw_only=True):
    """A file of `pipelines.d`."""

    name: str
    path: str
    pipeline_id: str
    """Empty if no pipeline was ever registered from the file."""
    pipeline_name: str
    gone: bool
    problems: tuple[str, ...]
    """Why the pipeline does not match the present content of the file."""


class PipelineDetails(PipelineInfo, frozen=True, kw_only=True):
    """A pipeline with its graph and its files."""

    operators: Mapping[str, tuple[str, ...]]
    """Names of operators, each with the operators that follow it."""
    files: tuple[DefinitionFile, ...]


class JobInfo(Value, frozen=True, kw_only=True):
    """A job as in the list of jobs. Names of states are those of the protos without prefix."""

    id: str
    name: str
    pipeline_id: str
    payload_id: str
    state: str
    status: str
    priority: str
    created: datetime | None
    started: datetime | None
    stopped: datetime | None
    metadata: Mapping[str, str]

    @property
    def ended(self) -> bool:
        return self.state == "STOPPED"

    @property
    def ended_well(self) -> bool:
        return self.ended and self.status == "HEALTHY"


class JobOperator(Value, frozen=True, kw_only=True):
    """One operator of a job."""

    name: str
    status: str
    created: datetime | None
    started: datetime | None
    stopped: datetime | None


class JobWait(Value, frozen=True, kw_only=True):
    """What a job, or one of its operators, waits for."""

    operator: str
    """The name of the operator; empty for the job as a whole."""
    text: str
    upstream: tuple[str, ...] = ()
    """The operators that it waits for; empty if it waits for something else."""


class JobDetails(JobInfo, frozen=True, kw_only=True):
    """A job with its operators, in the order of the definition, and its messages."""

    messages: tuple[str, ...]
    operators: tuple[JobOperator, ...]
    waits: tuple[JobWait, ...] = ()
    """Set only by calls that request it."""


class PayloadFileInfo(Value, frozen=True, kw_only=True):
    """A file of a payload; `name` begins with `/`."""

    name: str
    size: int
    """Bytes."""
    mode: int


class ModelInfo(Value, frozen=True, kw_only=True):
    """A model of the repository."""

    id: str
    name: str
    type: str
    metadata: Mapping[str, str]


class ImageInfo(Value, frozen=True, kw_only=True):
    """A container image of the device."""

    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    """Bytes."""
    created: datetime | None
    problem: str = ""


class ItemInfo(Value, frozen=True, kw_only=True):
    """An item of the drop folder."""

    id: str
    name: str
    folder: str
    pipeline: str
    state: str
    reason: str
    remedy: str
    job_id: str
    first_seen: datetime | None
    size: int
    result_path: str
    members: tuple[str, ...]
    digest: str
    duplicate_of: str
    removed: datetime | None = None
    original_path: str = ""
    original_removed: datetime | None = None
    members_left_out: int = 0


class DiskInfo(Value, frozen=True, kw_only=True):
    """A disk that work needs; sizes in bytes."""

    name: str
    free: int
    total: int
    soft_limit: int
    hard_limit: int


class RetentionInfo(Value, frozen=True, kw_only=True):
    """The number of things of stopped jobs that were removed since the daemon started."""

    payloads: int
    logs: int
    jobs: int
    size: int
    """Bytes."""
    last: datetime | None


class SettingInfo(Value, frozen=True, kw_only=True):
    """A setting of the configuration."""

    key: str
    """As for `claraedge serve --set`."""
    value: str
    """As TOML; empty: it has none, or it is secret."""
    is_default: bool
    origin: str
    """`default`, `file`, `variable` or `option`."""
    place: str
    """Path of the file, or name of the variable; else empty."""
    line: int
    """Line of the file; 0: not known."""
    meaning: str
    secret: bool
    """Whether it has a value that the daemon does not send."""


class Status(Value, frozen=True, kw_only=True):
    """The status of the daemon."""

    version: str
    instance: str
    started: datetime | None
    state_dir: str
    inbox_dir: str
    outbox_dir: str
    failed_dir: str
    pipelines_dir: str
    images_dir: str
    jobs_pending: int
    jobs_running: int
    items_parked: int
    items_failed: int
    outbox_results: int
    failed_results: int
    originals: int
    outbox_bytes: int
    failed_bytes: int
    originals_bytes: int
    originals_dir: str
    podman_version: str
    gpus: int
    disks: tuple[DiskInfo, ...]
    removed: RetentionInfo
    warnings: tuple[str, ...]


def moment(stamp: Timestamp) -> datetime | None:
    """Converts a time of the platform, in whole seconds since year 1; None if it is 0 or less."""
    if stamp.value <= 0:
        return None
    try:
        return datetime.fromtimestamp(stamp.value - _YEAR_ONE, UTC)
    except (OverflowError, ValueError, OSError):  # beyond the years that datetime supports
        return None


def unix_moment(stamp: UnixTimestamp) -> datetime | None:
    """Converts a time of the services of claraedge itself; None if it is unset."""
    return stamp.ToDatetime(UTC) if stamp.seconds or stamp.nanos else None


def to_json(value: object) -> str:
    """Returns a value as JSON on one line; times are RFC 3339 in UTC."""
    return json.dumps(
        msgspec.to_builtins(value, builtin_types=(datetime,)), default=_text, ensure_ascii=False
    )


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return rfc3339(value.timestamp())
    raise TypeError(f"{type(value).__name__} has no JSON form")
