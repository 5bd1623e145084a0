"""`[disk]` and `[retention]`: what must stay free, and what is kept."""

from __future__ import annotations

from typing import Annotated

import msgspec

from claraedge.config.sections import Megabytes, Section

_Age = Annotated[float, msgspec.Meta(gt=0, le=36500)]


class Disk(Section, frozen=True, kw_only=True):
    """`[disk]`: what must stay free on the disks of the state, of the inbox and of Podman."""

    soft_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 20.0
    soft_mb: Megabytes = 10240
    """Soft limit: below the smaller of both nothing new is taken, started or uploaded, and the
    oldest payloads of stopped jobs are removed."""
    hard_mb: Megabytes = 1024
    """Hard limit: below it running jobs are evicted. On small disks half the soft limit."""


class Retention(Section, frozen=True, kw_only=True):
    """`[retention]`: how long what stopped jobs leave is kept. Undelivered results always are."""

    payload_days: _Age = 30.0
    payload_count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    payload_mb: Megabytes | None = None
    """Payloads: inputs, outputs, failed attempts. Default: as many as the disk's limits allow."""
    undelivered_hours: Annotated[float, msgspec.Meta(ge=0, le=87600)] = 1.0
    """Results that only an API client can fetch stay so long, however full the disk is."""
    log_days: _Age = 90.0
    log_mb: Megabytes = 1024
    """Logs of operators."""
    job_days: _Age = 365.0
    job_count: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    """The jobs themselves, with all that is left of them."""


def mistakes_of(disk: Disk) -> list[str]:
    if 2 * disk.hard_mb <= disk.soft_mb:
        return []
    return [
        f"disk.hard_mb: {disk.hard_mb} is more than half of disk.soft_mb ({disk.soft_mb}), and so"
        " much is never asked for; lower it, or raise disk.soft_mb"
    ]
