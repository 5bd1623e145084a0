"""`[disk]` and `[retention]`: what must stay free, and what is kept."""

from __future__ import annotations

from typing import Annotated

import msgspec

from claraedge.config.sections import Megabytes, Section

_Age = Annotated[float, msgspec.Meta(gt=0, le=36500)]


class DiskSettings(Section, frozen=True, kw_only=True):
    """`[disk]`: free space to preserve on the disks of the state, of the inbox and of Podman."""

    soft_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 20.0
    """Soft limit as a share of the disk. The smaller of `soft_percent` and `soft_mb` applies."""
    soft_mb: Megabytes = 10240
    """Soft limit. With less free space, nothing new is taken from the inbox, started or uploaded,
    and the oldest payloads of stopped jobs are removed."""
    hard_mb: Megabytes = 1024
    """Hard limit. With less free space, running jobs are evicted. At most half of `soft_mb`; on a
    small disk, half of the soft limit that applies there."""


class RetentionSettings(Section, frozen=True, kw_only=True):
    """`[retention]`: how long the data of stopped jobs is kept.

    Results that are still to be delivered are never removed.
    """

    payload_days: _Age = 30.0
    """Age at which the payload of a stopped job (inputs, outputs, failed attempts) is removed."""
    payload_count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Number of payloads of stopped jobs to keep; beyond it, the oldest are removed. Default: no
    limit other than those of `[disk]`."""
    payload_mb: Megabytes | None = None
    """Total size of the payloads of stopped jobs to keep; beyond it, the oldest are removed.
    Default: no limit other than those of `[disk]`."""
    undelivered_hours: Annotated[float, msgspec.Meta(ge=0, le=87600)] = 1.0
    """Minimum time that results which only an API client can fetch are kept after the job has
    stopped, even when the disk is below its soft limit."""
    log_days: _Age = 90.0
    """Age at which the operator logs of a stopped job are removed."""
    log_mb: Megabytes = 1024
    """Total size of the operator logs of stopped jobs; beyond it, the oldest are removed."""
    job_days: _Age = 365.0
    """Age at which the record of a stopped job is removed, with all remaining data of the job."""
    job_count: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    """Number of stopped jobs whose records are kept; beyond it, the oldest are removed."""


def mistakes_of(disk: DiskSettings) -> list[str]:
    if 2 * disk.hard_mb <= disk.soft_mb:
        return []
    return [
        f"disk.hard_mb: {disk.hard_mb} is more than half of disk.soft_mb ({disk.soft_mb}), and so"
        " much is never asked for; lower it, or raise disk.soft_mb"
    ]
