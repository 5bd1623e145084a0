"""Folders that containers wrote in: what lies there may belong to users that only Podman knows."""

from __future__ import annotations

import os
from pathlib import Path

from claraedge import files
from claraedge.blocking import in_thread
from claraedge.runner.protocol import Runner


async def clear(runner: Runner, folder: Path) -> None:
    """Removes a folder, whoever owns what lies there; nothing there is no error.

    Raises OSError, and what `Runner.reclaim` does where something belongs to another user.
    """
    if not await in_thread(os.path.lexists, folder):
        return
    if await in_thread(files.has_foreign, folder):
        await runner.reclaim(folder)
    await in_thread(files.remove_tree, folder)
