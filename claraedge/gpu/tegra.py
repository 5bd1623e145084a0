"""Reads the integrated GPU of a Jetson from sysfs: NVML answers "not supported" there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from claraedge.appliance.memory import system_memory
from claraedge.gpu.telemetry import GpuReading, Memory

_log = logging.getLogger(__name__)

#: Files with the load, in per mille; JetPack moves them with each kernel. The first readable one
#: wins.
_LOADS = (
    "sys/devices/platform/gpu.0/load",
    "sys/devices/gpu.0/load",
    "sys/devices/platform/*.gpu/load",
    "sys/devices/platform/bus@0/*.gpu/load",
    *(f"sys/devices/{below}*.{chip}/load" for chip in ("ga10b", "gv11b", "gp10b", "gm20b")
      for below in ("", "platform/", "platform/bus@0/")),
    *(f"sys/class/devfreq/*.{chip}/device/load" for chip in ("gpu", "ga10b", "gv11b", "gp10b")),
)  # fmt: skip


class Tegra:
    """`Telemetry` of the one integrated GPU. `root`: the folder that contains etc, proc and sys."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._reported = False

    def present(self) -> bool:
        """Whether this machine is a Tegra, by L4T's release file or by its device tree."""
        return (self._root / "etc/nv_tegra_release").exists() or (
            b"nvidia,tegra" in self._bytes("proc/device-tree/compatible")
        )

    def read(self) -> Sequence[GpuReading]:
        if not self.present():
            return ()
        load = self._load()
        if load is None and not self._reported:
            self._reported = True
            _log.warning("the load of the integrated GPU is unknown: sysfs has no file of it")
        model = self._bytes("proc/device-tree/model").rstrip(b"\0").decode("utf-8", "replace")
        return (
            GpuReading(
                index=0, name=model or None, compute_utilization=load, memory=self._memory()
            ),
        )

    def close(self) -> None:
        """Does nothing: no resources are kept open."""

    def _load(self) -> float | None:
        for path in self._load_files():
            try:
                load = int(path.read_bytes())
            except (OSError, ValueError):  # powered down, or an unrelated file of that name
                continue
            if 0 <= load <= 1000:
                return load / 1000
        return None

    def _load_files(self) -> Iterator[Path]:
        for pattern in _LOADS:
            yield from sorted(self._root.glob(pattern))

    def _memory(self) -> Memory | None:
        """Returns the system's memory: CPU and GPU share it, and available memory is available to
        both.
        """
        found = system_memory(self._root / "proc/meminfo")
        if found is None:
            return None
        return Memory(free=found.available, used=found.total - found.available)

    def _bytes(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except OSError:
            return b""
