"""An inbox and delivery on real folders and a real SQLite file, with a stub engine."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claraedge.clock import SystemClock, moment
from claraedge.config import Config, OutboxSettings
from claraedge.config.inbox import InboxSettings, TriggerSettings
from claraedge.delivery.delivery import Delivery
from claraedge.failpoints import hooked
from claraedge.ids import new_id
from claraedge.inbox.inbox import Inbox
from claraedge.inbox.model import Item, ItemState
from claraedge.inbox.watching.watch import Watcher
from claraedge.jobs import records as jobs
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import Job, JobStatus, Priority
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.model import DefinitionFile, Pipeline, decode
from claraedge.registry.pipelines import Pipelines
from claraedge.store.database import Database
from tests.rig.queries import query
from tests.rig.waiting import eventually

DEFINITION = """\
api-version: 0.4.0
name: {name}
operators:
- name: first
  container: {{image: copy}}
  input:
  - {{path: /in}}
  output:
  - {{path: /out}}
- name: last
  container: {{image: copy}}
  input:
  - {{from: first, path: /in}}
  output:
  - {{path: /out, name: Left}}
  - {{path: /other, name: right}}
"""


class KilledError(BaseException):
    """Raised at a failpoint to simulate a kill: no error handler may catch it."""


@dataclass
class Engine:
    """Runs jobs immediately: each operator copies its inputs to each of its outputs."""

    database: Database
    tree: PayloadTree
    payloads: Payloads
    logs: JobLogs
    status: JobStatus = JobStatus.HEALTHY
    on_stopped: Callable[[], None] = lambda: None
    ran: list[str] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def queued(self, _: str, __: Priority) -> None:
        self.wake.set()

    async def run(self) -> None:
        while True:
            self.wake.clear()
            rows = await self.database.read(
                lambda tx: [jobs.read(tx, row) for row in tx.rows("started_jobs")]
            )
            for job in rows:
                await self._run(job)
                self.ran.append(job.id)
                self.on_stopped()
            await self.wake.wait()

    async def _run(self, job: Job) -> None:
        assert job.snapshot is not None
        status = self.status  # for this whole job, even if a test changes it for later jobs
        await self.payloads.materialise(job.payload)
        source = self.tree.input(job.payload)
        for operator in decode(job.snapshot).operators:
            out = self.tree.attempt(job.payload, operator.name, 1)
            out.mkdir(parents=True, exist_ok=True)
            self.logs.prepare(job.id, operator.name, 1).write_text(
                "".join(f"2026-01-01T00:00:00Z stdout F line {i}\n" for i in range(300))
            )
            if status is JobStatus.HEALTHY:
                for output in operator.outputs:
                    folder = out / (output.name or "")
                    folder.mkdir(parents=True, exist_ok=True)
                    for path in sorted(source.rglob("*")):
                        if path.is_file():
                            (folder / path.name).write_bytes(path.read_bytes())
                    (folder / os.fsdecode(b"raw\xff")).write_bytes(b"raw")
                made, _ = self.tree.collect(job.payload, out, f"operators/{operator.name}")
                source = out

            def work(tx: Any, name: str = operator.name, files: Any = None) -> None:
                at = moment(SystemClock())
                now = at.now
                tx.run("operator_attempt", job=job.id, name=name, attempt=1, image="f" * 64)
                if status is JobStatus.HEALTHY:
                    jobs.complete(tx, job, name, 0, files, at)
                else:
                    tx.run("add_job_message", job=job.id, time=now, text=f"{name}: exit code 3")

            files = made if status is JobStatus.HEALTHY else None
            await self.database.write(lambda tx, work=work, files=files: work(tx, files=files))  # type: ignore[misc]
            if status is not JobStatus.HEALTHY:
                break
        now = SystemClock().now()
        await self.database.write(lambda tx: jobs.stop(tx, job.id, status, now))


@dataclass
class InboxRig:
    """One run of the inbox, the delivery and the engine, from their start to their end."""

    config: Config
    database: Database
    pipelines: Pipelines
    inbox: Inbox
    delivery: Delivery
    engine: Engine
    group: asyncio.TaskGroup

    @property
    def watcher(self) -> Watcher:
        """What listens to the kernel for the inbox."""
        return self.inbox._watcher

    async def register(self, name: str, text: str = DEFINITION) -> str:
        part = DefinitionFile(path="p.yaml", content=text.format(name=name))
        created = await self.pipelines.create([part], {}, None)
        self.inbox.poke()
        return created.id

    async def until(self, condition: Callable[[list[Item]], object]) -> list[Item]:
        """Waits until the condition is true for the items, and returns them."""
        items: list[Item] = []

        async def holds() -> bool:
            items[:] = await self.inbox.items()
            return bool(condition(items))

        await eventually(holds, "the condition for the items", details=lambda: items)
        return items

    async def delivered(self, count: int = 1) -> list[Item]:
        """Waits until at least `count` items have ended, and returns these.

        Other items are left out: a late event of a file that was claimed may add one for a moment.
        """
        return ended(await self.until(lambda items: len(ended(items)) >= count))

    def input_of(self, job: Job) -> Mapping[str, bytes]:
        """Returns the input files of a job that has stopped."""
        return tree_of(self.config.state_dir / "payloads" / job.payload / "input")

    async def jobs(self) -> list[Job]:
        found = query(self.database, "SELECT id FROM jobs ORDER BY sequence")
        return await self.database.read(lambda tx: [jobs.get(tx, job) for (job,) in found])


def ended(items: list[Item]) -> list[Item]:
    return [item for item in items if item.state in (ItemState.DELIVERED, ItemState.FAILED)]


def make_config(
    state: Path, *, settle: float = 0.15, rescan: float = 0.5, **changes: Any
) -> Config:
    outbox = {
        k: changes.pop(k)
        for k in ("path", "failed", "originals", "wait_for_mounts", "drop_cache")
        if k in changes
    }
    return Config(
        state_dir=state,
        runtime_dir=state / "run",
        inbox=InboxSettings(
            path=changes.pop("inbox", None),
            settle_seconds=settle,
            rescan_seconds=rescan,
            max_queued=changes.pop("max_queued", 20_000),
            max_entries=changes.pop("max_entries", 50_000),
            group=changes.pop("group", None),
            trigger=tuple(TriggerSettings(**t) for t in changes.pop("trigger", ())),
        ),
        outbox=OutboxSettings(**outbox),
        **changes,
    )


async def plain(pipeline: Pipeline) -> Pipeline:
    """Returns the pipeline unchanged, as if no image had an application manifest."""
    return pipeline


async def swept(state: Path) -> None:
    """Waits until the spool is empty: delivered items leave it shortly after they are recorded."""
    await eventually(lambda: not any((state / "spool").iterdir()), "the spool is empty")


@asynccontextmanager
async def inbox_rig(
    config: Config,
    *,
    status: JobStatus = JobStatus.HEALTHY,
    hook: Callable[[str], object] | None = None,
    run: bool = True,
    applied: Callable[[Pipeline], Awaitable[Pipeline]] = plain,
    queued: Callable[[], int] = lambda: 0,
) -> AsyncIterator[InboxRig]:
    """Opens the state and runs all parts; at exit they are cancelled wherever they are.

    `hook` is called with the name of each failpoint until then.
    """
    config.state_dir.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        if hook is not None:
            stack.enter_context(hooked(hook))
        database = await stack.enter_async_context(Database(config.state_dir / "claraedge.db"))
        tree = PayloadTree(config.state_dir)
        payloads = Payloads(database, tree, clock, new_id)
        await payloads.prepare()
        logs = JobLogs(config.state_dir)
        engine = Engine(database, tree, payloads, logs, status)
        inbox = Inbox(
            database,
            tree,
            config,
            clock,
            new_id,
            engine.queued,
            applied=applied,
            queued=queued,
        )
        delivery = Delivery(
            database,
            tree,
            logs,
            config,
            clock,
            on_done=inbox.job_ended,
            first_retry=0.1,
            check_again=0.1,
        )
        engine.on_stopped = delivery.poke
        pipelines = Pipelines(
            database, clock, new_id, lambda: Device(cores=64, memory=1 << 20, gpus=8)
        )
        await delivery.prepare()
        await inbox.prepare()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = []
                if run:
                    tasks = [
                        group.create_task(part)
                        for part in (inbox.run(), delivery.run(), engine.run())
                    ]
                try:
                    yield InboxRig(config, database, pipelines, inbox, delivery, engine, group)
                finally:
                    for task in tasks:
                        task.cancel()
        except BaseExceptionGroup as errors:
            alone = errors
            while len(alone.exceptions) == 1:
                error = alone.exceptions[0]
                if not isinstance(error, BaseExceptionGroup):
                    raise error from None
                alone = error
            raise


def drop(path: Path, content: bytes = b"content") -> Path:
    """Writes a file directly under its final name, as `cp` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tree_of(root: Path) -> Mapping[str, bytes]:
    """Returns the contents of all files below a folder; for links, their targets."""
    return {
        os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace"): (
            os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        )
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def other_file_system(tmp_path: Path) -> Path:
    """Creates a folder on /dev/shm; skips the test if that is the file system of `tmp_path`."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system only")
    return Path(tempfile.mkdtemp(prefix="claraedge-", dir=shm))


def is_there(path: Path) -> bool:
    """Returns whether a path exists, also as a broken link."""
    return os.path.lexists(path)


def document(path: Path) -> Any:
    return json.loads(path.read_text())
