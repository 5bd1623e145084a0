"""Measures what grows with the jobs that are in the database, in one run.

    python -m tests.bench.growth [--sizes 100,10000,100000] [--rounds N] [CASE...]

Podman is not needed. The database is filled by the product's own functions. Cases:

- `list`: Jobs.List of 30,000 jobs from a daemon, against a bare grpc.aio server that streams the
  same messages, which are made before. Both serve a Unix socket, each in a process of its own. The
  goal is at most 2 times the bare server.
- `calls`: a list whose filter no job matches, Jobs.Status of one job, and the calls of the
  appliance, against daemons with few and with many jobs.
- `jobs`: the choice of the next operator, and a whole job with the in-memory runner, by engines
  with few and with many stopped jobs in their database.
- `work`: what the daemon does by itself every minute or hour, and what watchers are sent first.
- `start`: from the start of a daemon to READY with 10,000 jobs, 100 of which have not stopped,
  against `import grpc` in the same interpreter. The runner is the one in memory: Podman's own start
  does not count. The goal is at most 2.5 times.

The goal of `calls`, `jobs` and `work` is that each costs at most 1.5 times as much with the most
jobs as with the fewest. Sides work in turns; ratios are those of the medians. The exit code is 1 if
a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

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
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain

Times: TypeAlias = dict[str, dict[int, list[float]]]
"""Seconds by what was measured, and by the number of jobs."""

SIZES = (100, 10_000, 100_000)
LISTED, LISTED_MOST = 30_000, 2.0
STARTED, LIVE, START_MOST = 10_000, 100, 2.5
FLAT = 1.5
ROUNDS, CALLS = 9, 20


class Filled:
    """Databases by their number of jobs, made when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._books: dict[tuple[int, int], Books] = {}

    def site(self, count: int, live: int = 0) -> tuple[Path, Books]:
        """Returns the folder of a daemon with `count` jobs, of which `live` have not stopped."""
        folder = self._folder / f"{count}-{live}"
        if (count, live) not in self._books:
            begin = time.perf_counter()
            filling = fill(folder / "state", count, live=live, folders=bool(live))
            self._books[count, live] = asyncio.run(filling)
            print(f"{count} jobs recorded in {time.perf_counter() - begin:.0f} s", flush=True)
        return folder, self._books[count, live]


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


def daemon(folder: Path) -> AbstractContextManager[float]:
    return process(folder, "-m", "tests.field.state_daemon", str(folder))


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


def case_list(filled: Filled, sizes: Sequence[int], rounds: int) -> bool:
    count = min(LISTED, max(sizes))
    folder, _ = filled.site(count)
    ours: list[float] = []
    theirs: list[float] = []
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
        for turn in range(rounds + 1):
            for stub, spent in ((bare, theirs), (product, ours)):
                begin = time.perf_counter()
                found = listed(stub)
                if turn:  # the first round fills caches
                    spent.append(time.perf_counter() - begin)
                assert len(found) == count
    return compared(f"List of {count}", ours, "bare server", theirs, LISTED_MOST)


def compared(
    what: str, ours: Sequence[float], other: str, theirs: Sequence[float], most: float
) -> bool:
    """Prints the medians and their ratio; returns whether the ratio keeps the goal."""
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"{what:34} {spread(ours)}   {other} {spread(theirs)}   ratio {ratio:.2f} (at most {most})",
        flush=True,
    )
    return ratio <= most


def spread(seconds: Sequence[float]) -> str:
    return (
        f"{statistics.median(seconds) * 1e3:9.2f} ms"
        f" ({min(seconds) * 1e3:.2f} to {max(seconds) * 1e3:.2f})"
    )


def flat(times: Times) -> bool:
    """Prints the medians by the number of jobs; returns whether all keep the goal."""
    kept = True
    for what, by_size in times.items():
        sizes = sorted(by_size)
        few, many = by_size[sizes[0]], by_size[sizes[-1]]
        ratio = statistics.median(many) / statistics.median(few)
        kept = kept and ratio <= FLAT
        found = "  ".join(f"{size}: {spread(by_size[size])}" for size in sizes)
        print(f"{what:34} {found}  ratio {ratio:.2f} (at most {FLAT})", flush=True)
    return kept


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


def case_calls(filled: Filled, sizes: Sequence[int], rounds: int) -> bool:
    times: Times = {}
    with ExitStack() as stack:
        calls = {}
        for size in sizes:
            folder, books = filled.site(size)
            stack.enter_context(daemon(folder))
            calls[size] = calls_of(books, stack.enter_context(channel(folder)))
        for turn in range(rounds + 1):
            for size in sizes:
                for what, call in calls[size].items():
                    begin = time.perf_counter()
                    for _ in range(CALLS):
                        call()
                    if turn:
                        spent = (time.perf_counter() - begin) / CALLS
                        times.setdefault(what, {}).setdefault(size, []).append(spent)
    return flat(times)


# --- the engine, and periodic work --------------------------------------------------------------


async def measure_jobs(folders: Mapping[int, Path], rounds: int) -> Times:
    times: Times = {"choice of the next operator": {}, "a job from Start to its end": {}}
    async with AsyncExitStack() as stack:
        rigs: dict[int, tuple[EngineRig, str]] = {}
        for size, folder in folders.items():
            device = Device(folder / "state", max_operators=1)
            device.runner.add_image("copy:1", copy)
            rig = await stack.enter_async_context(engine_rig(device))
            rigs[size] = rig, await rig.register(chain("only"))
            _time_choices(rig, times["choice of the next operator"].setdefault(size, []))
        for turn in range(rounds + 1):
            for size, (rig, pipeline) in rigs.items():
                for _ in range(CALLS):
                    job = await rig.job(pipeline, start=False)
                    begin = time.perf_counter()
                    await rig.jobs.start(job.id, {})
                    await rig.end(job.id)
                    if turn:
                        spent = time.perf_counter() - begin
                        times["a job from Start to its end"].setdefault(size, []).append(spent)
    return times


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


def case_jobs(filled: Filled, sizes: Sequence[int], rounds: int) -> bool:
    folders = {size: filled.site(size)[0] for size in sizes}
    return flat(asyncio.run(measure_jobs(folders, rounds)))


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


async def measure_work(folders: Mapping[int, Path], rounds: int) -> Times:
    times: Times = {}
    async with AsyncExitStack() as stack:
        rigs = {}
        for size, folder in folders.items():
            rig = await stack.enter_async_context(engine_rig(Device(folder / "state"), run=False))
            rigs[size] = await work_of(rig)
        for turn in range(rounds + 1):
            for size, works in rigs.items():
                for what, work in works.items():
                    begin = time.perf_counter()
                    for _ in range(CALLS):
                        await work()
                    if turn:
                        spent = (time.perf_counter() - begin) / CALLS
                        times.setdefault(what, {}).setdefault(size, []).append(spent)
    return times


def case_work(filled: Filled, sizes: Sequence[int], rounds: int) -> bool:
    folders = {size: filled.site(size)[0] for size in sizes}
    return flat(asyncio.run(measure_work(folders, rounds)))


# --- the start ----------------------------------------------------------------------------------


def import_grpc(folder: Path) -> float:
    begin = time.perf_counter()
    command = [sys.executable, "-c", "import grpc"]
    subprocess.run(command, check=True, env=environment(folder.parent))
    return time.perf_counter() - begin


def case_start(filled: Filled, sizes: Sequence[int], rounds: int) -> bool:
    few, many = LIVE, min(STARTED, max(sizes))
    sites = {count: filled.site(count, LIVE)[0] for count in (few, many)}
    spent: dict[int, list[float]] = {few: [], many: []}
    imports = []
    for turn in range(rounds + 1):
        for count, folder in sites.items():
            with daemon(folder) as seconds:
                pass
            if turn:  # the first round compiles the modules
                spent[count].append(seconds)
        taken = import_grpc(sites[few])
        if turn:
            imports.append(taken)
    compared(f"start with {few} jobs", spent[few], "import grpc", imports, START_MOST)
    return compared(f"start with {many} jobs", spent[many], "import grpc", imports, START_MOST)


CASES: Mapping[str, Callable[[Filled, Sequence[int], int], bool]] = {
    "list": case_list,
    "calls": case_calls,
    "jobs": case_jobs,
    "work": case_work,
    "start": case_start,
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--bare", type=Path)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    given = parser.parse_args()
    if given.bare is not None:
        asyncio.run(serve_bare(given.bare))
        return 0
    sizes = [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        filled = Filled(Path(folder))
        kept = [CASES[case](filled, sizes, given.rounds) for case in given.cases]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
