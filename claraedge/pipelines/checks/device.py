"""The resources of a device, against which a definition is checked. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Totals of one machine, regardless of what is free at the moment."""

    cores: int
    """Number of logical cores."""
    memory: int
    """System memory in megabytes (2**20 bytes)."""
    gpus: int
    """Devices of the configured CDI kind; 0 may mean that the driver is not loaded yet."""
