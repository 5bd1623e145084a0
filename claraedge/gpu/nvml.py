"""Reads GPUs through NVIDIA's management library (NVML), by nvidia-ml-py.

The library comes with the driver, so it may be missing, older than its caller, or present before
the driver is loaded; a GPU may fall off its bus and come back. None of this is an error of a
reading: an unknown value is None, and the log reports that once. A started library knows only the
GPUs that existed at its start, so it is restarted after one was lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from claraedge.gpu.telemetry import GpuReading, Memory, PciAddress

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: A process id that means "none".
_NO_PID = 0xFFFFFFFF


class _LostError(Exception):
    """The GPU does not answer any more."""


class Nvml:
    """`Telemetry` of all GPUs of this machine that the NVIDIA driver supports."""

    def __init__(self) -> None:
        self._library: Any = None
        self._started = False
        self._state: str | None = None
        self._reported: set[tuple[int, str, str]] = set()
        self._lost: set[int] = set()

    def read(self) -> Sequence[GpuReading]:
        if not self._start():
            return ()
        nvml = self._library
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            self._say(
                f"the NVIDIA driver does not answer any more ({error}): see `sudo dmesg`",
                logging.WARNING,
            )
            self.close()
            return ()
        readings = [self._reading_or_loss(index) for index in range(count)]
        self._lost &= set(range(count))
        if self._lost:
            self.close()
        return readings

    def close(self) -> None:
        """Shuts the library down; the next reading starts it again."""
        if not self._started:
            return
        self._started = False
        try:
            self._library.nvmlShutdown()
        except self._library.NVMLError as error:
            _log.debug("NVML did not shut down", extra={"reason": str(error)})

    def _start(self) -> bool:
        if self._started:
            return True
        if self._library is None:
            import pynvml  # only where figures are requested

            self._library = pynvml
        nvml = self._library
        try:
            nvml.nvmlInit()
        except nvml.NVMLError_LibraryNotFound:
            # Not an error: most machines have no NVIDIA GPU.
            self._say("no NVIDIA driver: its library libnvidia-ml.so.1 is missing", logging.INFO)
            return False
        except nvml.NVMLError as error:
            self._say(f"the NVIDIA driver does not answer: {error}", logging.WARNING)
            return False
        self._started = True
        self._say("the NVIDIA driver answers", logging.INFO)
        return True

    def _reading_or_loss(self, index: int) -> GpuReading:
        try:
            reading = self._reading(index)
        except _LostError as error:
            if index not in self._lost:
                self._lost.add(index)
                _log.warning("GPU lost", extra={"gpu": index, "reason": str(error)})
            return GpuReading(index=index)
        if index in self._lost:
            self._lost.discard(index)
            _log.info("GPU answers again", extra={"gpu": index})
        return reading

    def _reading(self, index: int) -> GpuReading:
        nvml = self._library
        handle = self._ask(index, "all of it", nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            return GpuReading(index=index)
        rates = self._ask(index, "utilization", nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(index, "memory", nvml.nvmlDeviceGetMemoryInfo, handle)
        bar1 = self._ask(index, "BAR 1", nvml.nvmlDeviceGetBAR1MemoryInfo, handle)
        return GpuReading(
            index=index,
            name=self._ask(index, "name", nvml.nvmlDeviceGetName, handle) or None,
            pci=_address(self._ask(index, "PCI address", nvml.nvmlDeviceGetPciInfo, handle)),
            compute_utilization=rates.gpu / 100 if rates and rates.gpu <= 100 else None,
            memory=_memory(memory.total, memory.free, memory.used) if memory else None,
            bar1=_memory(bar1.bar1Total, bar1.bar1Free, bar1.bar1Used) if bar1 else None,
            pids=self._pids(index, handle),
        )

    def _pids(self, index: int, handle: object) -> tuple[int, ...] | None:
        """Returns the pids of processes that compute and of those that draw; None where unknown."""
        nvml = self._library
        known = [
            processes
            for what, newer, older in (
                (
                    "computing processes",
                    nvml.nvmlDeviceGetComputeRunningProcesses_v3,
                    nvml.nvmlDeviceGetComputeRunningProcesses_v2,
                ),
                (
                    "drawing processes",
                    nvml.nvmlDeviceGetGraphicsRunningProcesses_v3,
                    nvml.nvmlDeviceGetGraphicsRunningProcesses_v2,
                ),
            )
            if (processes := self._ask(index, what, self._newest, newer, older, handle)) is not None
        ]
        if not known:
            return None
        return tuple(sorted({p.pid for found in known for p in found if 0 < p.pid < _NO_PID}))

    def _newest(
        self,
        newer: Callable[[object], Iterable[Any]],
        older: Callable[[object], Iterable[Any]],
        handle: object,
    ) -> Iterable[Any]:
        """Calls `newer`, or `older` with drivers before 510, which know only that."""
        try:
            return newer(handle)
        except self._library.NVMLError_FunctionNotFound:
            return older(handle)

    def _ask(self, index: int, what: str, call: Callable[..., T], *arguments: object) -> T | None:
        """Returns the result of the call; None, logged once, where it is unknown. Raises
        _LostError.
        """
        nvml = self._library
        try:
            return call(*arguments)
        except (nvml.NVMLError_GpuIsLost, nvml.NVMLError_ResetRequired) as error:
            raise _LostError(str(error)) from error
        except nvml.NVMLError as error:
            self._report_unknown(index, what, str(error))
            return None

    def _report_unknown(self, index: int, what: str, reason: str) -> None:
        """Logs once that a figure of a GPU is unknown."""
        if (index, what, reason) not in self._reported:
            self._reported.add((index, what, reason))
            _log.info("GPU figure unknown", extra={"gpu": index, "figure": what, "reason": reason})

    def _say(self, state: str, level: int) -> None:
        """Logs the state of the driver when it changes."""
        if state != self._state:
            self._state = state
            _log.log(level, state)


def _memory(total: int, free: int, used: int) -> Memory | None:
    """Returns None for impossible values, which drivers return where they do not know."""
    return Memory(free=free, used=used) if total > 0 and free + used <= total else None


def _address(info: Any) -> PciAddress | None:
    if info is None or info.bus > 0xFF or info.device > 0x1F:
        return None
    return PciAddress(domain=info.domain, bus=info.bus, device=info.device)
