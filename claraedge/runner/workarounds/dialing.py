"""Connects into the network of a container, which the daemon itself cannot reach.

The network of a rootless container is in namespaces that belong to this user. A small process
enters them (util-linux's nsenter), connects (bash's /dev/tcp) and forwards bytes. No port of the
host is opened, and nothing runs inside of the container: `podman exec` would take ten times as long
and leave a process for five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from claraedge import spawn
from claraedge.blocking import wait_out

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_ENTER = ("nsenter", "--preserve-credentials", "-U", "-n")
#: An empty line reports that the namespaces are entered, and another one that the connection is
#: established. Both copies end when either side ends.
_COPY_BOTH_WAYS = 'echo; exec 3<>"/dev/tcp/$0/$1" || exit 1; echo; cat <&0 >&3 & exec cat <&3'
#: Seconds in which a busy machine has to start the process.
_START = 30.0


@asynccontextmanager
async def dialed(pid: int, address: str, port: int, seconds: float) -> AsyncIterator[Stream]:
    """Opens a connection from inside the network of the process `pid`, until the context is left.

    `seconds`: how long to wait for the other side. Raises ConnectionRefusedError where nothing
    listens, and OSError for any other failure.
    """
    process = await spawn.start(
        [*_ENTER, "-t", str(pid), "bash", "-c", _COPY_BOTH_WAYS, address, str(port)],
        source=subprocess.PIPE,
        output=subprocess.PIPE,
        errors=subprocess.DEVNULL,
        own_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        try:
            async with asyncio.timeout(_START):
                entered = await process.stdout.readline()
        except TimeoutError as error:
            raise OSError(
                f"nsenter did not start within {_START:g} s: the machine is busy"
            ) from error
        try:
            async with asyncio.timeout(seconds):
                connected = await process.stdout.readline() if entered else b""
        except TimeoutError as error:
            raise ConnectionRefusedError(f"{address}:{port} does not take connections") from error
        if not connected:
            raise ConnectionRefusedError(f"nothing listens on {address}:{port}")
        yield process.stdout, process.stdin
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its process group, with the copy
        process.stdin.close()
        await wait_out(asyncio.ensure_future(process.wait()))
