"""GPU readings as values, and their sources: NVML, Tegra's sysfs, or none.

A figure that its source does not know is None, never 0: on a Jetson, NVML finds the GPU and answers
"not supported" for each figure, so each is taken from whichever source knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class PciAddress:
    """The address of a device on the PCI Express bus."""

    domain: int
    bus: int
    device: int

    @property
    def number(self) -> int:
        """The address in the kernel's encoding: 16 bits of domain, 8 bus, 5 device, 3 function.
        Unique.
        """
        return (self.domain & 0xFFFF) << 16 | self.bus << 8 | self.device << 3

    def __str__(self) -> str:
        return f"{self.domain:08x}:{self.bus:02x}:{self.device:02x}.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Free and used memory in bytes."""

    free: int
    used: int

    @property
    def utilization(self) -> float | None:
        """The used share, 0 to 1; None where the total is 0."""
        total = self.free + self.used
        return self.used / total if total > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """The state of one GPU at one moment. None: its source does not know."""

    index: int
    """Index among the GPUs of this machine, from 0."""
    name: str | None = None
    pci: PciAddress | None = None
    compute_utilization: float | None = None
    """Fraction of the time in which it computed, 0 to 1."""
    memory: Memory | None = None
    """On a Tegra the memory of the system, as it has no other."""
    bar1: Memory | None = None
    """The window through which the CPU sees the GPU's memory."""
    pids: tuple[int, ...] | None = None
    """Pids of processes that have it open, in ascending order."""


class Telemetry(Protocol):
    """A source of readings. Its methods block, and are called from one thread at a time."""

    def read(self) -> Sequence[GpuReading]:
        """Returns one reading per GPU, in the order of the indexes; empty where there is none.
        Raises nothing.
        """
        ...

    def close(self) -> None:
        """Releases the resources of reading; reading again is allowed."""
        ...


class Integrated(Telemetry, Protocol):
    """The source of a system on a chip."""

    def present(self) -> bool:
        """Whether this machine is such a system."""
        ...


class Combined:
    """NVML's readings, with gaps of the integrated GPU filled from the system's own files."""

    def __init__(self, nvml: Telemetry, integrated: Integrated) -> None:
        self._nvml = nvml
        self._integrated = integrated

    def read(self) -> Sequence[GpuReading]:
        readings = self._nvml.read()
        if not self._integrated.present():
            return readings
        own = self._integrated.read()
        if not readings:
            return own
        # Among several GPUs, the integrated one is the one without a PCI address.
        alone = len(readings) == 1
        return [
            _filled(reading, own[0]) if own and (alone or reading.pci is None) else reading
            for reading in readings
        ]

    def close(self) -> None:
        self._nvml.close()
        self._integrated.close()


def _filled(reading: GpuReading, other: GpuReading) -> GpuReading:
    known = reading.compute_utilization
    return replace(
        reading,
        name=reading.name or other.name,
        compute_utilization=other.compute_utilization if known is None else known,
        memory=reading.memory or other.memory,
    )
