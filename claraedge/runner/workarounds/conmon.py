"""The supervisor of containers: how it is told to clean up late, and which processes are whose.

conmon runs `podman container cleanup` as soon as a container has ended. That is 30 ms of a core,
more than making a container; and whenever a call of the service finds Podman's database taken by
it, the call sleeps for 50 ms (bbolt waits for its file lock so). Here nobody needs that cleanup:
what ended is removed, which cleans up as well. So conmon gets to wait for a second first, and is
ended with its container. Where there is no daemon any more, it cleans up after that second.

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

#: Seconds that conmon waits; whole ones only.
_DELAY = 1
_TRY = 10.0
#: Seconds until a conmon whose container was removed has ended, and between looks at it.
_END, _LOOK = 2.0, 0.001


async def late(conmon: str, folder: Path) -> Path | None:
    """A program in `folder` that is that conmon with the delay; None where it cannot be run."""
    program = folder / "conmon"
    text = f'#!/bin/sh\nexec {shlex.quote(conmon)} --exit-delay {_DELAY} "$@"\n'
    try:
        files.replace(program, text.encode(), mode=0o700)
        code, _ = await spawn.run([str(program), "--version"], timeout=_TRY)
    except (OSError, TimeoutError):  # such as on a tmpfs that nothing may be executed from
        return None
    return program if code == 0 else None


async def end(supervisor: Process, pid: int, container: str) -> None:
    """Lets the conmon of a removed container end: at once where it only waits for its delay."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END):
            pause = _LOOK
            while not supervisor.gone:
                # What waits is a copy of it. It is alone by then: it has written the exit code.
                for child in children(pid):
                    with watched(child, container, supervisor=True) as waiting:
                        if waiting is not None:
                            waiting.kill()
                await asyncio.sleep(pause)
                pause *= 1.5


class PidFiles:
    """The processes of containers as Podman noted them when it initialised them.

    They may have ended since, and their numbers be those of others: ask who they are.
    """

    def __init__(self, run_root: str, driver: str) -> None:
        """Of Podman's storage, as `GET /info` says."""
        self._folder = Path(run_root, f"{driver}-containers")

    def process(self, container: str) -> int:
        """The container's first process; 0: not known."""
        return self._read(container, "pidfile")

    def supervisor(self, container: str) -> int:
        """Its conmon; 0: not known."""
        return self._read(container, "conmon.pid")

    def _read(self, container: str, name: str) -> int:
        try:
            return int((self._folder / container / "userdata" / name).read_bytes())
        except (OSError, ValueError):
            return 0
