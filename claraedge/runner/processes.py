"""Watches the two processes of a container on the event loop: its first process and its supervisor.

A pid from Podman may be stale and belong to another process by now. So each process is pinned by a
pidfd and then identified: the mount table of a container's process, and the command line of a
conmon, contain the container's id. (Start times are unsuitable: Podman records the wall clock, and
a device without a clock battery sets it after it has started containers.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path


class Process:
    """A process that is certainly the intended one. `watched` closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def kill(self) -> None:
        """Sends KILL; a process that has already ended is no error."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    async def end(self) -> None:
        """Waits until the process has ended."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def note() -> None:
            if not ended.done():
                ended.set_result(None)

        # Duplicate the descriptor: two waiters of one container must not share a reader.
        own = os.dup(self._descriptor)
        loop.add_reader(own, note)
        try:
            await ended
        finally:
            loop.remove_reader(own)
            os.close(own)


@contextlib.contextmanager
def watched(pid: int, container: str, *, supervisor: bool = False) -> Iterator[Process | None]:
    """Yields the container's first process, or its conmon; None where it has ended."""
    descriptor = _open(pid, container, is_supervisor if supervisor else _is_inside)
    if descriptor is None:
        yield None
        return
    try:
        yield Process(descriptor)
    finally:
        os.close(descriptor)


def alive(pid: int, container: str, *, supervisor: bool = False) -> bool:
    """Whether the container's first process, or its conmon, still runs."""
    with watched(pid, container, supervisor=supervisor) as process:
        return process is not None and not process.gone


def is_supervisor(pid: int, container: str) -> bool:
    """Whether a process is the container's conmon, or a fork of it."""
    words = _read(pid, "cmdline").split(b"\0")
    named = b"conmon" in words[0].rpartition(b"/")[2]
    return named and (b"-c", container.encode("ascii")) in itertools.pairwise(words)


def children(pid: int) -> list[int]:
    """Returns the pids of the processes that a process started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def every() -> Iterator[int]:
    """Yields the pids of all processes."""
    return (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())


def pause_process() -> int | None:
    """Returns the pid of the process that keeps the namespaces of this user's Podman; None where
    unknown.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    with contextlib.suppress(OSError, ValueError):
        if runtime:
            return int(Path(runtime, "libpod/tmp/pause.pid").read_text())
    return None


def _is_inside(pid: int, container: str) -> bool:
    return container.encode("ascii") in _read(pid, "mountinfo")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _open(pid: int, container: str, is_it: Callable[[int, str], bool]) -> int | None:
    if pid <= 0:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        # The pid may be free, or be that of a thread of another process by now (ENOENT from Linux
        # 6.9 on, EINVAL before). A lack of descriptors or memory would affect every process.
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return None
    # An ended process that nobody has reaped has no mount table and an empty command line.
    if not is_it(pid, container):
        os.close(descriptor)
        return None
    return descriptor
