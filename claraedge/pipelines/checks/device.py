"""What a device has, as a definition is checked against it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Totals of one machine, whatever is free at the moment."""

    cores: int
    """Logical cores."""
    memory: int
    """Megabytes (2**20 bytes) of system memory."""
    gpus: int
    """Devices of the configured CDI kind; 0 may mean that the driver is late."""
