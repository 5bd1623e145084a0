"""One life of inbox, delivery and a small engine in a process of its own.

    python -m tests.integration.inbox.inbox_child STATE FAILPOINT WANTED

Kills itself with SIGKILL at FAILPOINT ("-": never), and exits 0 once WANTED items have ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from claraedge.inbox import settling
from tests.inbox_bench import bench, make_config


async def main(state: Path, at: str, wanted: int) -> None:
    settling.LINKS_SECONDS = 0.0

    def failpoint(name: str) -> None:
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with bench(make_config(state, settle=0.05), failpoint=failpoint) as b:
        if not await b.database.read(lambda tx: tx.rows("pipelines")):
            await b.register("ct")
        await b.delivered(wanted)
        async with asyncio.timeout(20):
            while any((state / "spool").iterdir()):
                await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
