"""Delays the cleanup of conmon, the supervisor of containers, and finds which processes are whose.

conmon runs `podman container cleanup` as soon as a container has ended. That costs 30 ms of a core,
more than creating a container; and whenever a call of the service finds Podman's database locked by
it, the call sleeps for 50 ms (bbolt waits for its file lock this way). Here nobody needs that
cleanup: an ended container is removed, which cleans up as well. So conmon waits first, and is ended
with its container. The wait is longer than a container waits for its removal under full load: with
one second, many were cleaned up there all the same, and calls took twice as long. Where no daemon
runs any more, conmon cleans up after the wait.

Source: conmon 2.1 (`--exit-delay`), Podman 4.3 (`--conmon`, Container.bundlePath); measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from pathlib import Path

from claraedge import spawn
from claraedge.fs import files
from claraedge.runner.processes import Process, children, watched

#: Seconds that conmon waits; only whole seconds are possible.
_DELAY = 5
_TRY = 10.0  # seconds for the test run of the script
#: Longest wait in seconds for the conmon of a removed container, and the first pause in it.
_END, _PAUSE = 2.0, 0.001


async def late(conmon: str, folder: Path) -> Path | None:
    """Writes a script to `folder` that starts that conmon with the delay. Returns None where the
    script cannot be executed.
    """
    program = folder / "conmon"
    text = f'#!/bin/sh\nexec {shlex.quote(conmon)} --exit-delay {_DELAY} "$@"\n'
    try:
        files.replace(program, text.encode(), mode=0o700)
        code, _ = await spawn.run([str(program), "--version"], timeout=_TRY)
    except (OSError, TimeoutError):  # for example on a tmpfs mounted noexec
        return None
    return program if code == 0 else None


async def end(supervisor: Process, pid: int, container: str) -> None:
    """Waits for the conmon of a removed container to end, and ends it where it only waits for its
    delay.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END):
            pause = _PAUSE
            while not supervisor.gone:
                # A fork of conmon waits for the delay. By then it only waits: it has written the
                # exit code.
                for child in children(pid):
                    with watched(child, container, supervisor=True) as waiting:
                        if waiting is not None:
                            waiting.kill()
                await asyncio.sleep(pause)
                pause *= 1.5


class PidFiles:
    """The pids of containers' processes, as Podman recorded them at initialisation.

    The processes may have ended since, and their pids may belong to others: identify them first.
    """

    def __init__(self, run_root: str, driver: str) -> None:
        """`run_root` and `driver` are those of Podman's storage, from `GET /info`."""
        self._folder = Path(run_root, f"{driver}-containers")

    def process(self, container: str) -> int:
        """Returns the pid of the container's first process; 0 where unknown."""
        return self._read(container, "pidfile")

    def supervisor(self, container: str) -> int:
        """Returns the pid of its conmon; 0 where unknown."""
        return self._read(container, "conmon.pid")

    def _read(self, container: str, name: str) -> int:
        try:
            return int((self._folder / container / "userdata" / name).read_bytes())
        except (OSError, ValueError):
            return 0
