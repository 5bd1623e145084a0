"""Compares the cost of taking in a settled file with a minimal, equally durable loop, in one run.

Two sides work in turns on real folders of one disk and real SQLite files. Each processes the same
small files, which fill the folder of a pipeline at once, and is timed from the moment that all are
settled to the commit of the last job:

- the inbox of the product: claims, moves, inspects, syncs and hashes files, and creates payloads
  and jobs;
- a bare loop: for batches of the same size, it commits the rows of the claims, renames each file
  into a spool, fsyncs, hashes and links it as a blob, fsyncs the three folders once, and commits
  the rows of payloads, jobs and deliveries.

Both write the same rows by the same functions. The bare loop makes no folder for an item, and
inspects nothing: it would accept a half-written file, a file of another user, or a link.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from claraedge.clock import SystemClock
from claraedge.fs import files
from claraedge.ids import new_id
from claraedge.inbox import records
from claraedge.inbox.inbox import Inbox
from claraedge.inbox.intake.definitions import Definitions
from claraedge.inbox.intake.submit import Filled, Prepared, Resolved, submit_all
from claraedge.inbox.model import Claimed, ItemOptions, ItemState
from claraedge.jobs.model import Priority
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.model import DefinitionFile
from claraedge.registry.pipelines import Pipelines
from claraedge.store.database import Database, Transaction
from tests.bench.case import Case, Figure, Pair, at_most, in_loop
from tests.bench.run import main
from tests.rig.inbox import DEFINITION, make_config, plain
from tests.rig.queries import query
from tests.rig.waiting import eventually

SIZE = 4096
BATCH = 64
DEADLINE = 300.0


@dataclass
class Product:
    """An inbox that claims files only while it is timed."""

    inbox: Inbox
    folder: Path
    database: Database
    blocked_by: str | None = "not yet"
    jobs: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: int = 0

    def submitted(self, _: str, __: Priority) -> None:
        self.jobs += 1
        if self.jobs == self.wanted:
            self.done.set()

    async def settled(self, count: int) -> None:
        """Waits until `count` entries are ready to be claimed."""

        async def ready() -> bool:
            items = [i for i in await self.inbox.items() if i.state is ItemState.PARKED]
            return sum(i.reason == self.blocked_by for i in items) == count

        await eventually(ready, f"{count} entries are ready", DEADLINE)

    async def process(self, count: int) -> float:
        """Lets the inbox process `count` files; returns the seconds for all of them."""
        self.done.clear()
        self.wanted = self.jobs + count
        begin = time.perf_counter()
        self.blocked_by = None
        self.inbox._settled.set()
        async with asyncio.timeout(DEADLINE):
            await self.done.wait()
        spent = time.perf_counter() - begin
        self.blocked_by = "not yet"
        return spent


@asynccontextmanager
async def product(state: Path) -> AsyncIterator[Product]:
    config = make_config(state, settle=0.2, rescan=5.0)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(state / "claraedge.db"))
        tree = PayloadTree(state)
        await Payloads(database, tree, clock, new_id).prepare()
        side = Product.__new__(Product)
        inbox = Inbox(
            database,
            tree,
            config,
            clock,
            new_id,
            lambda job, priority: side.submitted(job, priority),
            applied=plain,
            blocked_by=lambda: side.blocked_by,
        )
        Product.__init__(side, inbox, config.inbox_dir / "ct", database)
        await register(database)
        await inbox.prepare()
        side.folder.mkdir(parents=True, exist_ok=True)
        running = asyncio.create_task(inbox.run())
        try:
            yield side
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def register(database: Database) -> str:
    part = DefinitionFile(path="p.yaml", content=DEFINITION.format(name="ct"))
    device = Device(cores=64, memory=1 << 20, gpus=8)
    created = await Pipelines(database, SystemClock(), new_id, lambda: device).create(
        [part], {}, None
    )
    return created.id


@dataclass
class Bare:
    """The bare loop that the inbox is compared with."""

    state: Path
    database: Database
    resolved: Resolved

    def __post_init__(self) -> None:
        self.folder = self.state / "inbox"
        self.spool, self.blobs = self.state / "spool", self.state / "blobs"
        for folder in (self.folder, self.spool, self.blobs):
            folder.mkdir(parents=True)

    async def process(self, count: int) -> float:
        """Processes `count` files; returns the seconds for all of them."""
        names = sorted(path.name for path in self.folder.iterdir())
        assert len(names) == count
        begin = time.perf_counter()
        for start in range(0, count, BATCH):
            await self._batch(names[start : start + BATCH])
        return time.perf_counter() - begin

    async def _batch(self, names: Sequence[str]) -> None:
        now = time.time()
        items = [self._item(name) for name in names]

        def claim(tx: Transaction) -> None:
            for item in items:
                records.claim(tx, item, now)
                records.unsee(tx, item.id)

        def make(tx: Transaction) -> None:
            submit_all(tx, prepared, now)

        await self.database.write(claim)
        prepared = await asyncio.to_thread(self._prepare_all, items)
        await self.database.write(make)

    def _prepare_all(self, items: Sequence[Claimed]) -> list[Prepared]:
        prepared = [self._prepare(item) for item in items]
        for folder in (self.folder, self.spool, self.blobs):
            files.sync_folder(folder)
        return prepared

    def _prepare(self, item: Claimed) -> Prepared:
        raw = self.spool / item.id
        (self.folder / os.fsdecode(item.name)).rename(raw)
        with raw.open("rb") as file:
            os.fsync(file.fileno())
            found = hashlib.sha256(file.read()).hexdigest()
        blob = b"blobs/" + item.id.encode()
        (self.blobs / item.id).hardlink_to(raw)
        made = PayloadFile(
            name=f"input/{item.text}", size=SIZE, mode=0o644, blob=blob, sha256=found
        )
        return Prepared(
            item=item,
            job=new_id(),
            filled=Filled(files=[made], digest=found),
            resolved=self.resolved,
        )

    def _item(self, name: str) -> Claimed:
        return Claimed(
            id=new_id(),
            folder=self.folder,
            name=os.fsencode(name),
            pipeline="ct",
            deliver=(),
            options=ItemOptions(),
            fingerprint="f" * 40,
            content="c" * 40,
            size=SIZE,
            first_seen=0.0,
        )


def drop(folder: Path, count: int, around: int) -> None:
    for number in range(count):
        content = b"%d of %d " % (number, around) + bytes(SIZE)
        (folder / f"scan-{around}-{number}.dcm").write_bytes(content[:SIZE])


async def compared(count: int) -> AsyncGenerator[Sequence[Pair], None]:
    """Yields microseconds an item, of `count` items a round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bare").mkdir()
        (folder / "product").mkdir()
        async with (
            Database(folder / "bare/claraedge.db") as database,
            product(folder / "product") as side,
        ):
            await register(database)
            found = await Definitions(database).find("ct", (), {})
            assert found.resolved is not None, found.problem
            bare = Bare(folder / "bare", database, found.resolved)
            for turn in itertools.count(1):
                drop(bare.folder, count, turn)
                drop(side.folder, count, turn)
                await side.settled(count)
                theirs = await bare.process(count) / count
                ours = await side.process(count) / count
                for one in (bare.database, side.database):
                    ((jobs,),) = query(one, "SELECT COUNT(*) FROM jobs")
                    assert jobs == count * turn, jobs
                yield [Pair(ours * 1e6, theirs * 1e6)]


CASES = (
    Case(
        name="intake",
        figures=(Figure("settled file to job", "bare loop", "us", at_most(1.5)),),
        pairs=lambda count: in_loop(compared(count)),
        full=1250,  # 10,000 files in all
        quick=256,
        sizes=(64, 256, 1024, 4096),
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
