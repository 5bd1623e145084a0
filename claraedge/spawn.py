"""The one way to start a process.

A frozen binary carries its own libraries and points the loader at them. A child that inherits that
breaks in ways that are hard to see, so every child gets the environment that the binary was started
with. Nothing here forks by hand: gRPC does not survive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_LOADER_VARIABLES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH")
# What systemd tells this one process. Podman's service would report READY in our name.
_SYSTEMD_VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child: ours, less what the freezer and systemd put in, plus `extra`."""
    environment = dict(os.environ)
    for name in _SYSTEMD_VARIABLES:
        environment.pop(name, None)
    if getattr(sys, "frozen", False):
        for name in _LOADER_VARIABLES:
            original = environment.pop(f"{name}_ORIG", None)
            if original is not None:
                environment[name] = original
            elif name == "LD_LIBRARY_PATH":
                environment.pop(name, None)
        for name in [n for n in environment if n.startswith("_PYI_")]:
            del environment[name]
    environment.update(extra or {})
    return environment


async def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    source: int | None = subprocess.DEVNULL,
    output: int | None = subprocess.DEVNULL,
    errors: int | None = subprocess.PIPE,
    dies_with_parent: bool = False,
    own_session: bool = False,
) -> asyncio.subprocess.Process:
    """Starts `command`. With `dies_with_parent` it gets SIGTERM when this process ends, however.

    With either flag it leads a session, and so a process group, of its own.

    Must be called on the main thread's loop where `dies_with_parent` is set: the kernel sends the
    signal when the *thread* that started the child ends. `setpriv` sets it between fork and exec,
    so that no code of ours runs there.
    """
    full = list(command)
    if dies_with_parent:
        full = ["setpriv", "--pdeathsig", "TERM", "--", *full]
    return await asyncio.create_subprocess_exec(  # noqa: TID251
        *full,
        stdin=source,
        stdout=output,
        stderr=errors,
        env=child_environment(environment),
        cwd="/",
        # A Ctrl-C at the daemon's terminal is for the daemon, which ends its child in its own turn.
        start_new_session=dies_with_parent or own_session,
    )


async def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float,
) -> tuple[int, str]:
    """Runs `command` to its end: (exit code, stdout and stderr as text).

    Raises TimeoutError after `timeout` seconds; the process is then killed and reaped, with all
    that it started: a child that held its output open would keep us waiting.
    """
    process = await start(
        command,
        environment=environment,
        output=subprocess.PIPE,
        errors=subprocess.STDOUT,
        own_session=True,
    )
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


def executable(name: str) -> Path | None:
    """The absolute path of a program on PATH, or None."""
    found = shutil.which(name)
    return None if found is None else Path(found)
