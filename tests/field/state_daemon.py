"""`claraedge serve` as a process, with containers that are coroutines.

`state_daemon.py FOLDER [KEY=VALUE...]`: `FOLDER/state` is its state, `FOLDER/run` has its socket;
further arguments are settings. An operator copies its inputs to its outputs; of the image `wait`
it does so once `FOLDER/go` is there.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from claraedge.config import Config
from claraedge.daemon import process
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import ContainerSpec, Runner
from tests.rig.waiting import eventually


async def copy(spec: ContainerSpec) -> int:
    for mount in spec.mounts:
        if mount.read_only and mount.source.is_dir():
            for target in (m.source for m in spec.mounts if not m.read_only and m.source.is_dir()):
                shutil.copytree(mount.source, target, dirs_exist_ok=True)
    return 0


def main(folder: Path, *more: str) -> int:
    async def wait(spec: ContainerSpec) -> int:
        await eventually((folder / "go").exists, "the operator may run", 600)
        return await copy(spec)

    @asynccontextmanager
    async def opened(_: Config) -> AsyncIterator[Runner]:
        runner = MemoryRunner()
        runner.add_image("copy:1", copy)
        runner.add_image("wait:1", wait)
        yield runner

    process.serve = partial(process.serve, open_runner=opened)
    settings = {
        "state_dir": f"{folder}/state",
        "runtime_dir": f"{folder}/run",
        "inbox.settle_seconds": "0.2",
        "inbox.rescan_seconds": "1",
        "disk.soft_mb": "2",
        "disk.hard_mb": "1",
        "log.format": "text",
        **dict(one.split("=", 1) for one in more),
    }
    return process.main(None, settings)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
