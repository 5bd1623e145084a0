"""The memory size of this machine's GPUs, for operators that share one."""

from __future__ import annotations

import threading

from claraedge.gpu.nvml import Nvml


class GpuSizes:
    """Asks the driver once it answers, and caches the result until the next start."""

    def __init__(self, configured: int | None) -> None:
        """`configured`: megabytes set by the site; then the driver is not asked."""
        self._smallest = configured
        self._lock = threading.Lock()

    def smallest(self) -> int | None:
        """Returns the megabytes of the smallest GPU; None where unknown. Blocks."""
        with self._lock:
            if self._smallest is None:
                nvml = Nvml()
                try:
                    memories = [reading.memory for reading in nvml.read()]
                finally:
                    nvml.close()
                sizes = [(m.free + m.used) >> 20 for m in memories if m is not None]
                self._smallest = min(sizes, default=None)
            return self._smallest
