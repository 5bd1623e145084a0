"""Removes or reclaims folders that containers wrote to: files there may belong to
subordinate ids.
"""

from __future__ import annotations

import os
from pathlib import Path

from claraedge import spawn
from claraedge.blocking import in_thread
from claraedge.errors import ContainerError
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.runner.protocol import Runner

_RECLAIM = 600.0  # seconds
#: Both in one call: most of its cost is Podman's start (30 ms on an idle machine).
_GIVE_BACK = 'chown -R 0:0 -- "$1" && chmod -R u+rwX -- "$1"'


async def clear(runner: Runner, folder: Path) -> None:
    """Removes a folder, whoever owns the files in it. One that does not exist is no error.

    Raises OSError, and what `Runner.reclaim` raises where something belongs to another user.
    """
    if not await in_thread(os.path.lexists, folder):
        return
    if await in_thread(files.has_foreign, folder):
        await runner.reclaim(folder)
    await in_thread(remove, folder)


async def reclaim(folder: Path) -> None:
    """Implements Runner.reclaim with the rootless Podman of this user.

    Raises ContainerError if it fails or does not end in time.
    """
    try:
        code, text = await spawn.run(
            ["podman", "unshare", "sh", "-c", _GIVE_BACK, "sh", str(folder)], timeout=_RECLAIM
        )
    except TimeoutError as error:
        raise ContainerError(
            f"{folder} was not given back within {_RECLAIM:g} s; `podman unshare chown -R "
            f"0:0 {folder}` does it by hand"
        ) from error
    if code != 0:
        raise ContainerError(
            f"{folder} could not be given back: {text.strip()}; `podman unshare chown -R 0:0"
            f" {folder}` does it by hand"
        )
