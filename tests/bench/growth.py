"""Measures what grows with the jobs that are in the database, in one run.

Podman is not needed. The database is filled by the product's own functions. Cases:

- `list`: Jobs.List of as many jobs as the size says from a daemon, against a bare grpc.aio server
  that streams the same messages, which are made before. Both serve a Unix socket, each in a process
  of its own.
- `calls`: a list whose filter no job matches, Jobs.Status of one job, and the calls of the
  appliance, against daemons with few and with many jobs.
- `engine`: the choice of the next operator, and a whole job with the in-memory runner, by engines
  with few and with many stopped jobs in their database.
- `work`: what the daemon does by itself every minute or hour, and what watchers are sent first.
- `ready`: from the start of a daemon to READY with jobs in its database, 100 of which have not
  stopped, against `import grpc` in the same interpreter. The runner is the one in memory: Podman's
  own start does not count.

The size is the number of jobs in the database; few are 100.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from claraedge.clock import SystemClock
from claraedge.delivery import records as deliveries
from claraedge.events.log import EventLog
from claraedge.events.model import Follow
from claraedge.ids import new_id
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.retention.artifacts import Artifacts
from claraedge.jobs.retention.keeping import Rules
from claraedge.jobs.retention.retention import Retention
from claraedge.wire.claraedge.v1 import appliance_pb2, appliance_pb2_grpc
from claraedge.wire.nvidia.clara.platform import common_pb2, jobs_pb2, jobs_pb2_grpc
from tests.bench.books import Books, fill
from tests.bench.case import Case, Figure, Pair, Pairs, at_most, in_loop
from tests.bench.run import main
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain

FEW, LIVE = 100, 100
CALLS = 20


class Filled:
    """Databases by their number of jobs, made when they are first needed."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self._folder = Path(self._temporary.name)
        self._books: dict[tuple[int, int], Books] = {}

    def site(self, count: int, live: int = 0) -> tuple[Path, Books]:
        """Returns the folder of a daemon with `count` jobs, of which `live` have not stopped."""
        folder = self._folder / f"{count}-{live}"
        if (count, live) not in self._books:
            filling = fill(folder / "state", count, live=live, folders=bool(live))
            self._books[count, live] = asyncio.run(filling)
        return folder, self._books[count, live]


@cache
def filled() -> Filled:
    """Returns those that all cases of this process share: filling 100,000 jobs lasts a while."""
    return Filled()


def sites(count: int) -> Sequence[Path]:
    """Returns the folders of so many jobs and of few."""
    return [filled().site(size)[0] for size in (count, FEW)]


def environment(folder: Path) -> Mapping[str, str]:
    """Returns the environment of processes that compile their modules only once."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


@contextmanager
def process(folder: Path, *command: str) -> Iterator[float]:
    """Runs a Python process until the context is left; gives the seconds until it was ready."""
    with (
        tempfile.TemporaryDirectory() as own,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
    ):
        ready.bind(f"{own}/notify")
        ready.settimeout(1)
        begin = time.perf_counter()
        started = subprocess.Popen(
            [sys.executable, *command],
            env={**environment(folder.parent), "NOTIFY_SOCKET": f"{own}/notify"},
            stderr=subprocess.DEVNULL,
        )
        try:
            while not _is_ready(ready):
                assert started.poll() is None, "the process has ended"
            yield time.perf_counter() - begin
        finally:
            started.terminate()
            started.wait()


def _is_ready(ready: socket.socket) -> bool:
    try:
        return b"READY=1" in ready.recv(4096)
    except TimeoutError:
        return False


def daemon(folder: Path, *settings: str) -> AbstractContextManager[float]:
    return process(folder, "-m", "tests.field.state_daemon", str(folder), *settings)


def channel(folder: Path, name: str = "claraedge.sock") -> grpc.Channel:
    return grpc.insecure_channel(f"unix:{folder / 'run' / name}")


# --- a list -------------------------------------------------------------------------------------


class Bare(jobs_pb2_grpc.JobsServicer):
    """A server that streams messages of a file to every call."""

    def __init__(self, file: Path) -> None:
        data = file.read_bytes()
        self._messages = []
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            encoded = data[at + 4 : at + 4 + size]
            self._messages.append(jobs_pb2.JobsListResponse.FromString(encoded))
            at += 4 + size

    async def List(self, _request: object, _context: object) -> Any:  # noqa: N802
        for message in self._messages:
            yield message


async def serve_bare(folder: Path) -> None:
    server = grpc.aio.server()
    add: Any = jobs_pb2_grpc.add_JobsServicer_to_server
    add(Bare(folder / "messages"), server)
    server.add_insecure_port(f"unix:{folder / 'run' / 'bare.sock'}")
    await server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    await server.wait_for_termination()


def listed(stub: Any) -> list[jobs_pb2.JobsListResponse]:
    """Returns a list of all jobs that have stopped."""
    stopped = jobs_pb2.JobsListRequest.JobFilter(has_state=[jobs_pb2.JOB_STATE_STOPPED])
    return list(stub.List(jobs_pb2.JobsListRequest(filter=stopped)))


def list_pairs(count: int) -> Pairs:
    folder, _ = filled().site(count)
    with ExitStack() as stack:
        stack.enter_context(daemon(folder))
        product: Any = jobs_pb2_grpc.JobsStub(stack.enter_context(channel(folder)))  # type: ignore[no-untyped-call]
        messages = [message.SerializeToString() for message in listed(product)]
        count = len(messages)
        with (folder / "messages").open("wb") as file:
            for message in messages:
                file.write(len(message).to_bytes(4, "big") + message)
        bare_process = process(folder, "-m", "tests.bench.growth", "--bare", str(folder))
        stack.enter_context(bare_process)
        bare: Any = jobs_pb2_grpc.JobsStub(stack.enter_context(channel(folder, "bare.sock")))  # type: ignore[no-untyped-call]
        while True:
            theirs, ours = (spent(lambda stub=stub: listed(stub), 1) for stub in (bare, product))  # type: ignore[misc]
            yield [Pair(ours, theirs)]


def spent(work: Callable[[], object], times: int = CALLS) -> float:
    """Returns the milliseconds of a call, on average of so many."""
    begin = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times * 1000


async def awaited(work: Callable[[], Awaitable[object]]) -> float:
    """Returns the same of a coroutine function."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        await work()
    return (time.perf_counter() - begin) / CALLS * 1000


def flat(names: Sequence[str]) -> Sequence[Figure]:
    return [Figure(name, f"{FEW} jobs", "ms", at_most(1.5)) for name in names]


# --- calls --------------------------------------------------------------------------------------


def calls_of(books: Books, opened: grpc.Channel) -> Mapping[str, Callable[[], object]]:
    jobs: Any = jobs_pb2_grpc.JobsStub(opened)  # type: ignore[no-untyped-call]
    inbox: Any = appliance_pb2_grpc.InboxStub(opened)  # type: ignore[no-untyped-call]
    appliance: Any = appliance_pb2_grpc.ApplianceStub(opened)  # type: ignore[no-untyped-call]
    health: Any = health_pb2_grpc.HealthStub(opened)
    wanted = jobs_pb2.JobsListRequest.JobFilter
    other, some = (common_pb2.Identifier(value=value) for value in (new_id(), books.some))
    filters = {
        "of another pipeline": wanted(pipeline_id=[other]),
        "terminated": wanted(has_status=[jobs_pb2.JOB_STATUS_TERMINATED]),
        "running": wanted(has_state=[jobs_pb2.JOB_STATE_RUNNING]),
        "created later": wanted(created_after=common_pb2.Timestamp(value=1 << 37)),
        "completed before": wanted(completed_before=common_pb2.Timestamp(value=62135596801)),
    }
    parked = appliance_pb2.ListItemsRequest(state=appliance_pb2.ITEM_STATE_PARKED)
    return {
        **{
            f"List, {name}": lambda f=f: list(jobs.List(jobs_pb2.JobsListRequest(filter=f)))  # type: ignore[misc]
            for name, f in filters.items()
        },
        "Jobs.Status": lambda: jobs.Status(jobs_pb2.JobsStatusRequest(job_id=some)),
        "Inbox.List, parked": lambda: list(inbox.List(parked)),
        "Appliance.Status": lambda: appliance.Status(appliance_pb2.StatusRequest()),
        "Health.Check": lambda: health.Check(health_pb2.HealthCheckRequest()),
    }


CALL_NAMES = (
    *(
        f"List, {name}"
        for name in (
            "of another pipeline",
            "terminated",
            "running",
            "created later",
            "completed before",
        )
    ),
    "Jobs.Status",
    "Inbox.List, parked",
    "Appliance.Status",
    "Health.Check",
)


def call_pairs(count: int) -> Pairs:
    with ExitStack() as stack:
        sides = []
        for size in (count, FEW):
            folder, books = filled().site(size)
            stack.enter_context(daemon(folder))
            sides.append(calls_of(books, stack.enter_context(channel(folder))))
        many, few = sides
        while True:
            yield [Pair(spent(many[name]), spent(few[name])) for name in CALL_NAMES]


# --- the engine, and periodic work --------------------------------------------------------------


ENGINE_NAMES = ("choice of the next operator", "a job from Start to its end")


async def engine_pairs(folders: Sequence[Path]) -> AsyncGenerator[Sequence[Pair], None]:
    async with AsyncExitStack() as stack:
        sides: list[tuple[EngineRig, str, list[float]]] = []
        for folder in folders:
            device = Device(folder / "state", max_operators=1)
            device.runner.add_image("copy:1", copy)
            rig = await stack.enter_async_context(engine_rig(device))
            choices: list[float] = []
            _time_choices(rig, choices)
            sides.append((rig, await rig.register(chain("only")), choices))
        while True:
            whole: list[list[float]] = [[], []]
            for _, _, choices in sides:
                choices.clear()
            for _ in range(CALLS):
                for side, (rig, pipeline, _) in enumerate(sides):
                    job = await rig.job(pipeline, start=False)
                    begin = time.perf_counter()
                    await rig.jobs.start(job.id, {})
                    await rig.end(job.id)
                    whole[side].append(time.perf_counter() - begin)
            yield [
                Pair(*(statistics.median(choices) * 1000 for _, _, choices in sides)),
                Pair(*(statistics.median(one) * 1000 for one in whole)),
            ]


def _time_choices(rig: EngineRig, spent: list[float]) -> None:
    dispatcher = rig.engine._dispatcher
    choose = dispatcher.start_next

    async def timed() -> bool:
        begin = time.perf_counter()
        started = await choose()
        if started:
            spent.append(time.perf_counter() - begin)
        return started

    dispatcher.start_next = timed  # type: ignore[method-assign]


async def work_of(rig: EngineRig) -> Mapping[str, Callable[[], Awaitable[object]]]:
    clock, database = SystemClock(), rig.database
    logs = JobLogs(rig.device.state, lambda _: None)
    artifacts = Artifacts(database, rig.payloads, logs)
    keeper = Retention(
        database, rig.payloads, artifacts, clock, unstarted_after=3600, rules=Rules()
    )
    events = EventLog(database, clock, new_id)
    await events.prepare()
    await keeper.remove_due()  # the first run also removes rows that nothing refers to
    follow = Follow(all_jobs=True, pipelines=True, inbox=True)

    return {
        "retention": keeper.remove_due,
        "deliveries that are due": lambda: database.read(partial(deliveries.due, healthy=True)),
        "counts of the status": lambda: database.read(lambda tx: tx.row("status_counts")),
        "containers that run": lambda: database.read(lambda tx: tx.rows("running_containers")),
        "snapshot for a watcher": lambda: events.snapshot(follow),
    }


WORK_NAMES = (
    "retention",
    "deliveries that are due",
    "counts of the status",
    "containers that run",
    "snapshot for a watcher",
)


async def work_pairs(folders: Sequence[Path]) -> AsyncGenerator[Sequence[Pair], None]:
    async with AsyncExitStack() as stack:
        sides = []
        for folder in folders:
            device = Device(folder / "state")
            rig = await stack.enter_async_context(engine_rig(device, run=False))
            sides.append(await work_of(rig))
        many, few = sides
        while True:
            yield [Pair(await awaited(many[name]), await awaited(few[name])) for name in WORK_NAMES]


# --- the start ----------------------------------------------------------------------------------


def import_grpc(folder: Path) -> float:
    begin = time.perf_counter()
    command = [sys.executable, "-c", "import grpc"]
    subprocess.run(command, check=True, env=environment(folder.parent))
    return time.perf_counter() - begin


def ready_pairs(count: int) -> Pairs:
    folders = [filled().site(size, LIVE)[0] for size in (count, FEW)]
    while True:
        imported = import_grpc(folders[0]) * 1000
        found = []
        for folder in folders:
            with daemon(folder) as seconds:
                found.append(Pair(seconds * 1000, imported))
        yield found


SIZES = (1_000, 10_000, 100_000)

CASES = (
    Case(
        name="list",
        figures=(Figure("List of all", "bare grpc.aio server", "ms", at_most(2)),),
        pairs=list_pairs,
        full=30_000,
        quick=3_000,
    ),
    Case(
        name="calls",
        figures=flat(CALL_NAMES),
        pairs=call_pairs,
        full=100_000,
        quick=3_000,
        sizes=SIZES,
    ),
    Case(
        name="engine",
        figures=flat(ENGINE_NAMES),
        pairs=lambda count: in_loop(engine_pairs(sites(count))),
        full=100_000,
        quick=3_000,
        sizes=SIZES,
    ),
    Case(
        name="work",
        figures=flat(WORK_NAMES),
        pairs=lambda count: in_loop(work_pairs(sites(count))),
        full=100_000,
        quick=3_000,
        sizes=SIZES,
    ),
    Case(
        name="ready",
        figures=(
            Figure("start to READY", "import grpc", "ms", at_most(2.5)),
            Figure(f"start to READY, {FEW} jobs", "import grpc", "ms"),
        ),
        pairs=ready_pairs,
        full=10_000,
        quick=1_000,
        sizes=SIZES,
    ),
)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        asyncio.run(serve_bare(Path(sys.argv[2])))
    else:
        sys.exit(main(CASES))
