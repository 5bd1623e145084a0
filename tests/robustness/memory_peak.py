"""Peak memory of this process. `getrusage` will not do: it keeps the peak of who started it."""

from __future__ import annotations

import re
from pathlib import Path

_STATUS = Path("/proc/self/status")


def reset() -> int:
    """Forgets the peak so far; KiB that are used now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _kib("VmRSS")


def peak() -> int:
    """KiB at most since the reset."""
    return _kib("VmHWM")


def _kib(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
