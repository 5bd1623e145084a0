"""Explains exit codes that stand for signals, and an operator's last lines about memory. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from claraedge.pipelines.tmpfs import Tmpfs

_MEANINGS = {
    signal.SIGILL: (
        "its program uses an instruction that this processor does not have; use an image that is"
        " built for this machine"
    ),
    signal.SIGABRT: (
        "its program ended itself, as programs do at an error that they do not handle; the lines"
        " before say which"
    ),
    signal.SIGFPE: (
        "its program divided by zero, or similar: that is a fault of the program; use another"
        " version of its image"
    ),
    signal.SIGSEGV: (
        "its program crashed: that is a fault of the program, or of a library that does not fit"
        " this machine; use another version of its image"
    ),
    signal.SIGKILL: (
        "it was killed by somebody, or by the kernel because the whole device was out of memory"
        " (`sudo dmesg` says so then); in that case write what it needs as `requests.memory`, so"
        " that less runs at the same time"
    ),
    signal.SIGTERM: "somebody else asked it to end",
    signal.SIGSYS: "its program made a system call that is forbidden in containers",
}
#: Texts that programs, PyTorch among them, print when /dev/shm is full.
_SHARED_MEMORY = ("bus error", "shared memory")
_FULL = ("no space left on device", "errno 28", "enospc")


def of_exit(code: int, tmpfs: Tmpfs) -> str:
    """Returns the signal of an exit code, as shells and runtimes report it, with its meaning.

    Returns "" if the code stands for no signal. `tmpfs`: the limits of the container's memory file
    systems.
    """
    try:
        number = signal.Signals(code - 128) if code > 128 else None
    except ValueError:
        number = None
    if number is None:
        return ""
    if number is signal.SIGBUS:
        return (
            f" (SIGBUS: it used memory that was not there, mostly because {_shared_memory(tmpfs)})"
        )
    meaning = _MEANINGS.get(number)
    return f" ({number.name}: {meaning})" if meaning else f" ({number.name})"


def of_lines(lines: Sequence[str], tmpfs: Tmpfs) -> str:
    """Returns the cause if the last lines report a lack of memory or of room in memory; else ""."""
    text = "\n".join(lines).lower()
    if any(word in text for word in _SHARED_MEMORY):
        return f"; it says that shared memory was short: {_shared_memory(tmpfs)}"
    if any(word in text for word in _FULL):
        room = f"its /dev/shm holds {_size(tmpfs.shared_memory)}"
        if tmpfs.scratch_is_memory:
            room += f", and each of /tmp, /var/tmp and /run {_size(tmpfs.scratch)}"
        return (
            f"; it says that it had no room: {room}, in memory; a larger `requests.memory` makes"
            " them larger, as do engine.shared_memory_mb and engine.scratch_mb. Its outputs lie on"
            " the disk of the state"
        )
    return ""


def _shared_memory(tmpfs: Tmpfs) -> str:
    return (
        f"its /dev/shm was full (it holds {_size(tmpfs.shared_memory)}); a larger"
        " `requests.memory` makes it larger, or engine.shared_memory_mb for all operators"
    )


def _size(megabytes: int | None) -> str:
    return "half of the device's memory" if megabytes is None else f"{megabytes} MB"
