"""The only way to start a process.

A frozen binary contains its own libraries and points the dynamic loader at them. A child process
that inherits these settings breaks in ways that are hard to diagnose, so every child gets the
environment that the binary was started with. This module never calls fork directly: gRPC does not
survive it.
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
# Variables that systemd sets for this process only. With them, Podman's service would report READY
# in our name.
_SYSTEMD_VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment for a child process.

    It is ours, without the variables that the freezer and systemd added, and with `extra`.
    """
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
    """Starts `command`.

    With `dies_with_parent` the child gets SIGTERM when this process ends for any reason. With
    `dies_with_parent` or `own_session` it leads its own session, and thus its own process group.

    With `dies_with_parent` this must be called on the loop of the main thread: the kernel sends the
    signal when the *thread* that started the child ends. `setpriv` requests the signal between fork
    and exec, so that no code of ours runs there.
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
        # Ctrl-C at the daemon's terminal must reach only the daemon, which then ends its child.
        start_new_session=dies_with_parent or own_session,
    )


async def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float,
) -> tuple[int, str]:
    """Runs `command` until it ends; returns its exit code, and stdout and stderr as one text.

    Raises TimeoutError after `timeout` seconds. The whole process group is then killed, because a
    child of the process that keeps the output open would make us wait; the process is reaped.
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
    """Returns the path of a program found on PATH, or None."""
    found = shutil.which(name)
    return None if found is None else Path(found)
