"""On a small disk of its own: `full_disk_child.py FOLDER`, in a namespace where it may mount."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from claraedge.appliance.ballast import Ballast
from claraedge.appliance.disk_guard import DiskGuard
from claraedge.appliance.disks import Disks, Store, measured
from claraedge.appliance.watermarks import DiskLimits, Level
from claraedge.clock import SystemClock
from claraedge.errors import StorageFullError
from claraedge.store.database import Database


def fill(path: Path) -> None:
    """Fills all the space that is left on the disk."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


async def nothing(_: int) -> int:
    return 0


async def nobody(_: str) -> None:
    return


async def main(folder: Path) -> None:
    ballast = Ballast(folder)
    state = Store(area="state", name="the state", measure=measured(folder))
    disks = Disks(state, [], DiskLimits())
    guard = DiskGuard(
        disks, ballast, SystemClock(), reclaim=nothing, evict=nobody, on_room=lambda: None
    )
    await guard.prepare()
    print("ballast", ballast.is_there(), disks.level.name)
    async with Database(folder / "claraedge.db", on_full=ballast.give_up) as database:

        async def put(key: str, size: int) -> str:
            try:
                await database.write(lambda tx: tx.run("put_fact", key=key, value="x" * size))
            except StorageFullError:
                return "full"
            return "recorded"

        fill(folder / "filler")
        await guard.check()
        print("filled", disks.level.name, ballast.is_there())
        print("with ballast", await put("a", 4 << 20), ballast.is_there())
        fill(folder / "filler")
        print("without", await put("b", 12 << 20))  # more than the log of SQLite has
        (folder / "filler").unlink()
        await guard.check()
        print("freed", disks.level.name, await put("c", 100_000), ballast.is_there())
        assert disks.level is Level.ROOM


if __name__ == "__main__":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", sys.argv[1]], check=True)
    asyncio.run(main(Path(sys.argv[1])))
