"""Other processes: what /proc says of them, any of which may end meanwhile, and their end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

#: What reading raises of a process, thread or descriptor that is gone.
GONE = (FileNotFoundError, ProcessLookupError)


def command(process: int) -> str:
    """A process's words, with a space between them; "" for one that has ended."""
    with suppress(*GONE):
        words = Path(f"/proc/{process}/cmdline").read_bytes()
        return words.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return ""


def commands() -> dict[int, str]:
    """The words of every process, by its id."""
    found = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {process: command(process) for process in found}


def children(process: int) -> list[int]:
    """The processes that any thread of a process has started."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(*GONE):
            found += map(int, (thread / "children").read_text().split())
    return found


def descriptors(process: int) -> Iterator[Path]:
    """What a process's open descriptors refer to: a path, or a form as `socket:[1]`."""
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(*GONE):
            yield link.readlink()


def memory(process: int, key: str = "VmRSS") -> int:
    """Bytes of a line in KiB of /proc/PROCESS/status.

    Raises:
        LookupError: No line has that key: the process is a zombie.
    """
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)


def kill_when(pid: int, met: Callable[[], bool]) -> None:
    """Kills a process as soon as a condition is met, or after 10 s. Call it in a thread."""
    until = time.monotonic() + 10
    while not met() and time.monotonic() < until:
        pass
    os.kill(pid, signal.SIGKILL)
