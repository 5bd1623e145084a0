"""A daemon of its own process whose containers are coroutines: `memory_daemon.py FOLDER`.

All of the product but Podman. `FOLDER/claraedge.toml` is its configuration, `FOLDER/state` its
state, `FOLDER/run/claraedge.sock` its socket. `FOLDER/probe.sock` returns what no client may see:
the calls that are still open in the server, the containers; and gives slack of the allocator back.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from claraedge.config import Config, load_config
from claraedge.daemon import journal, serve
from claraedge.runner.memory import MemoryRunner, write_log
from claraedge.runner.protocol import ContainerSpec, Image, Runner
from tests.robustness.hostile_trees import TREES, VALUES

LOG_LINES = 400_000
#: The image of every archive.
LOADED = "loaded:1"


class Containers(MemoryRunner):
    """Loads archives by their first bytes: `image` is one, `hang` keeps its caller waiting."""

    loading = 0

    async def load_image(self, archive: Path) -> Sequence[Image]:
        with archive.open("rb") as file:
            kind = file.read(5)
        if kind.startswith(b"hang"):
            self.loading += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.loading -= 1
        if kind == b"image":
            found = [i for i in await self.list_images() if LOADED in i.names]
            return found or [self.add_image(LOADED, hello)]
        return await super().load_image(archive)

    async def start(self, container: str) -> None:
        await super().start(container)
        self.started.clear()  # a record for other tests, which would grow with every job


async def hello(spec: ContainerSpec) -> int:
    for mount in spec.mounts:
        if not mount.read_only:
            (mount.source / "hello.txt").write_text("hello")
    write_log(spec, "hello")
    return 0


async def lister(spec: ContainerSpec) -> int:
    """Lists each file of its inputs in `list.json`: path -> [size, sha256]."""
    found: dict[str, list[int | str]] = {}
    for mount in spec.mounts:
        for path in sorted(mount.source.rglob("*")) if mount.read_only else ():
            if path.is_file():
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                name = os.fsencode(path.relative_to(mount.source))
                found[name.decode("utf-8", "backslashreplace")] = [path.stat().st_size, digest]
    for mount in spec.mounts:
        if not mount.read_only:
            (mount.source / "list.json").write_text(json.dumps(found))
    return 0


async def failing(spec: ContainerSpec) -> int:
    return 3


async def chatty(spec: ContainerSpec) -> int:
    line = "2026-01-01T00:00:00.000000000Z stdout F " + "x" * 100 + "\n"
    with spec.log_path.open("a") as file:
        for _ in range(LOG_LINES // 1000):
            file.write(line * 1000)
    return 0


async def hostile(spec: ContainerSpec) -> int:
    """Leaves the tree `KIND` in each folder that it may write, and exits with `EXIT`."""
    for mount in spec.mounts:
        if not mount.read_only:
            (TREES | VALUES)[spec.environment["KIND"]](
                mount.source, Path(spec.environment["CANARY"])
            )
    return int(spec.environment["EXIT"])


async def stubborn(spec: ContainerSpec) -> int:
    """Does not hear TERM, only KILL."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(3600)
    return 0


@asynccontextmanager
async def runner(folder: Path) -> AsyncIterator[Runner]:
    containers = Containers()
    for program in (hello, lister, failing, chatty, hostile, stubborn):
        containers.add_image(f"{program.__name__}:1", program)
    trim = ctypes.CDLL(None).malloc_trim

    async def probe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readline()
        if asked == b"trim\n":
            gc.collect()
            trim(0)
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
        answer = {
            "calls": names.count("_handle_exceptions"),  # gRPC runs each handler in it
            "loading": containers.loading,
            "containers": len(await containers.containers({})),
        }
        writer.write(json.dumps(answer).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(probe, folder / "probe.sock"):
        yield containers


async def run(folder: Path) -> None:
    config = load_config(
        folder / "claraedge.toml",
        {},
        {"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")},
    )
    journal.configure(config.log.level, "text")

    @asynccontextmanager
    async def open_runner(_: Config) -> AsyncIterator[Runner]:
        async with runner(folder) as opened:
            yield opened

    daemon = asyncio.create_task(serve(config, open_runner))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.cancel)
    with suppress(asyncio.CancelledError):
        await daemon


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
