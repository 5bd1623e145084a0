"""Removes the remains of a container that Podman does not know of.

A Podman that is killed between starting a container's supervisor and recording it forgets both: it
removes the container, while conmon and the process that waits for its start continue to run. Where
conmon is killed, the OCI runtime's folder of the container remains; where Podman was killed before,
a file with the exit code does. All of this is found by the container's id alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from pathlib import Path

from claraedge import spawn
from claraedge.blocking import in_thread
from claraedge.fs.removal import remove
from claraedge.runner.processes import children, every, is_supervisor

_log = logging.getLogger(__name__)

_RUNTIMES = ("runc", "crun")
_DELETE = 20.0  # seconds
#: Seconds that killed processes get to disappear.
_GONE = 2.0
#: Seconds for a process to stop; one that sleeps in the kernel stops when it wakes.
_STOPPED = 0.1


async def end_unknown(container: str) -> None:
    """Ends the supervisors of a container that Podman knows no process of, and their children."""
    if await in_thread(_end_supervisors, container):
        _log.warning("ended a supervisor that Podman forgot", extra={"container": container[:12]})


async def clear(container: str) -> None:
    """Removes the files of a removed container from the user's tmpfs.

    Failures are only logged: nothing but space on the tmpfs depends on it.
    """
    for path in await in_thread(_left, container):
        try:
            await _clear(path, container)
        except OSError as error:
            _log.warning("left behind: %s", path, extra={"reason": str(error)})


async def _clear(path: Path, container: str) -> None:
    name = path.parent.name
    # Use the runtime first: it ends what still runs, and removes cgroups as well.
    if name in _RUNTIMES and spawn.executable(name) is not None:
        with contextlib.suppress(TimeoutError):
            await spawn.run(
                ["podman", "unshare", name, "delete", "--force", container], timeout=_DELETE
            )
    await in_thread(remove, path)


def _left(container: str) -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        return []
    folders = [Path(runtime, name) for name in _RUNTIMES]
    places = [*folders, Path(runtime, "libpod/tmp/exits")]
    return [place / container for place in places if (place / container).exists()]


def _end_supervisors(container: str) -> bool:
    ended: list[int] = []
    try:
        for pid in every():
            if is_supervisor(pid, container):
                _end_tree(pid, container, ended)
        deadline = time.monotonic() + _GONE
        poll = select.poll()
        for descriptor in ended:
            poll.register(descriptor, select.POLLIN)
        left = len(ended)
        while left and time.monotonic() < deadline:
            for descriptor, _ in poll.poll(100):
                poll.unregister(descriptor)
                left -= 1
    finally:
        for descriptor in ended:
            os.close(descriptor)
    return bool(ended)


def _end_tree(pid: int, container: str, ended: list[int]) -> None:
    """Kills a supervisor and its child processes; adds pidfds of all to `ended`."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    ended.append(descriptor)
    if is_supervisor(pid, container):  # again: now the pid cannot be reused
        _kill_tree(pid, descriptor, ended)


def _kill_tree(pid: int, descriptor: int, ended: list[int]) -> None:
    # A stopped process starts no more children, and reaps none, so that their pids stay valid.
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
        _await_stop(pid)
        for child in children(pid):
            with contextlib.suppress(OSError):
                below = os.pidfd_open(child)
                ended.append(below)
                _kill_tree(child, below, ended)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def _await_stop(pid: int) -> None:
    deadline = time.monotonic() + _STOPPED
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        if state in b"TtZX":
            return
        time.sleep(0.001)
