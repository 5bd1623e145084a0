"""Measures the pages of the console on a device with many jobs and items, in one run.

Podman is not needed. Each case compares a daemon with as many jobs and items as its size says with
one that has 100 of each; both have a job with many operators, 2,000 and 20. Items wait for a
person: `console` has files in the drop folder whose pipeline does not exist, `console failures`
items that have failed. A figure of a page is the time from its request until its first byte, by
HTTP on a Unix socket.

`console browser` measures with Chromium for how long an interaction keeps the page from showing
anything: see `tests/contract/clients/console_speed.py`. It needs chromium and playwright.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claraedge.access import token as tokens
from claraedge.ids import new_id
from claraedge.inbox import records as items
from claraedge.inbox.model import Claimed, ItemOptions
from claraedge.store.database import Database, Transaction
from tests.bench.books import fill
from tests.bench.case import Case, Figure, NotInstalled, Pair, Pairs, at_most
from tests.bench.front import Connection
from tests.bench.growth import FEW, daemon
from tests.bench.run import main
from tests.rig.certificates import free_port
from tests.rig.pipelines import chain
from tests.rig.waiting import until

CLIENT = Path(__file__).parents[1] / "contract/clients/console_speed.py"
#: Requests of a page in a round.
REQUESTS = 5
OPERATORS, FEW_OPERATORS = 2000, 20
#: No scan of the drop folder falls into a measurement.
SETTINGS = ("inbox.rescan_seconds=3600",)

#: Pages by the names of their figures; see `Site`.
PAGES = {
    "overview": "/",
    "jobs": "/ui/jobs",
    "jobs, failed": "/ui/jobs?state=failed",
    "jobs, a name": "/ui/jobs?q=scan-77",
    "jobs, nothing": "/ui/jobs?q=nothing+zzz",
    "job of many operators": "/ui/jobs/{job}",
    "inbox": "/ui/inbox",
    "inbox, parked": "/ui/inbox?state=parked",
    "inbox, failed": "/ui/inbox?state=failed",
    "inbox, a name": "/ui/inbox?q=file-77",
    "inbox, nothing": "/ui/inbox?q=nothing+zzz",
    "item": "/ui/inbox/{item}",
    "search, a name": "/ui/find?q=77",
    "search, nothing": "/ui/find?q=nothing+zzz",
    "pipelines": "/ui/pipelines",
    "pipeline of many operators": "/ui/pipelines/{pipeline}",
    "device": "/ui/device",
}
#: Those that show or count items.
OF_ITEMS = [name for name, path in PAGES.items() if "inbox" in path or "find" in path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A daemon, and what its pages are about."""

    folder: Path
    address: str
    job: str
    pipeline: str
    item: str

    def page(self, name: str) -> tuple[float, int]:
        """Returns the milliseconds until the first byte of a page, and its bytes."""
        path = PAGES[name].format(job=self.job, item=self.item, pipeline=self.pipeline)
        connection = Connection(str(self.folder / "run/http.sock"))
        try:
            connection.connect()
            begin = time.perf_counter()
            connection.request("GET", path, headers={"Accept": "text/html"})
            answer = connection.getresponse()
            answer.read(1)
            spent = time.perf_counter() - begin
            size = 1 + len(answer.read())
        finally:
            connection.close()
        assert answer.status == 200, (path, answer.status)
        return spent * 1000, size


@contextmanager
def filled(count: int, operators: int, *, failures: bool = False) -> Iterator[Site]:
    """Runs a daemon with so many jobs and items that wait for a person."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state, port = folder / "state", free_port()
        asyncio.run(fill(state, count))
        if failures:
            asyncio.run(_fail(state, count))
        else:
            _drop(state / "inbox" / "none", count)
        listening = f'http.listen=["127.0.0.1:{port}"]'
        stack.enter_context(daemon(folder, listening, *SETTINGS))
        http = Connection(str(folder / "run/http.sock"))
        stack.callback(http.close)
        until(f"{count} items wait for a person", lambda: _waiting(http) == count, 600)
        found = _call(http, "GET", "/v1/search?retryable=true&limit=1")
        definition = chain(*(f"step-{number}" for number in range(operators)), image="wait")
        made = _call(http, "POST", "/v1/pipelines:register?definition.path=p.yaml", definition)
        job = {"pipelineId": made["pipelineId"], "name": "of many operators"}
        id_ = _call(http, "POST", "/v1/jobs", json.dumps(job))["jobId"]
        _call(http, "POST", f"/v1/jobs/{id_}:start", "{}")
        yield Site(
            folder=folder,
            address=f"http://127.0.0.1:{port}",
            job=id_,
            pipeline=made["pipelineId"],
            item=found["hits"][0]["id"],
        )


def _call(http: Connection, method: str, path: str, body: str | None = None) -> Any:
    kind = {} if body is None else {"Content-Type": "application/json"}
    http.request(method, path, None if body is None else body.encode(), kind)
    answer = http.getresponse()
    text = answer.read()
    assert answer.status in (200, 201), (path, text)
    return json.loads(text)


def _waiting(http: Connection) -> int:
    return int(_call(http, "GET", "/v1/search?retryable=true&limit=1").get("retryable", 0))


def _drop(folder: Path, count: int) -> None:
    """Drops files that have no pipeline."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"file-{number}.dcm").write_bytes(b"x")


async def _fail(state: Path, count: int) -> None:
    """Records items that failed without a job."""
    begin = time.time() - count

    def work(tx: Transaction) -> None:
        for number in range(count):
            id_ = new_id()
            item = Claimed(
                id=id_,
                folder=Path("/inbox/books"),
                name=b"file-%d.dcm" % number,
                pipeline="books",
                deliver=(),
                options=ItemOptions(),
                fingerprint="f" * 40,
                content="c" * 40,
                size=1,
                first_seen=begin + number,
            )
            items.claim(tx, item, begin + number)
            items.fail(tx, id_, "it is a link", f"/failed/file-{number}", begin + number)

    async with Database(state / "claraedge.db") as database:
        await database.write(work)


def _pairs(count: int, names: Sequence[str], *, failures: bool) -> Pairs:
    with (
        filled(count, OPERATORS, failures=failures) as many,
        filled(FEW, FEW_OPERATORS, failures=failures) as few,
    ):
        while True:
            times, sizes = [], []
            for name in names:
                ours, theirs = zip(
                    *((many.page(name), few.page(name)) for _ in range(REQUESTS)), strict=True
                )
                times.append(
                    Pair(*(statistics.median(one for one, _ in side) for side in (ours, theirs)))
                )
                sizes.append((ours[0][1] / 1000, theirs[0][1] / 1000))
            yield [*times, Pair(*map(max, zip(*sizes, strict=True)))]


def _figures(names: Sequence[str]) -> Sequence[Figure]:
    return [
        *(Figure(name, f"{FEW} jobs, items", "ms", at_most(150, of="ours")) for name in names),
        Figure("largest page", f"{FEW} jobs, items", "kB", at_most(200, of="ours")),
    ]


# --- in a browser ---------------------------------------------------------------------------------

#: As `console_speed.py` names them.
INTERACTIONS = ("a letter in the search", "a checkbox", "a live section", "a filter")


def _browser() -> Path:
    """Returns the Python that has playwright."""
    if shutil.which("chromium") is None:
        raise NotInstalled("chromium is not installed")
    for one in (Path(".cache/contract/bin/python"), Path(sys.executable)):
        if one.exists():
            known = subprocess.run([one, "-c", "import playwright"], stderr=subprocess.DEVNULL)
            if known.returncode == 0:
                return one
    raise NotInstalled("playwright is not installed")


def _interactions(count: int) -> Pairs:
    python = _browser()
    with filled(count, OPERATORS) as many, filled(FEW, FEW_OPERATORS) as few, ExitStack() as stack:
        sides = [stack.enter_context(_visitor(python, one)) for one in (many, few)]
        while True:
            found = []
            for side in sides:
                assert side.stdin is not None
                assert side.stdout is not None
                side.stdin.write("measure\n")
                side.stdin.flush()
                found.append(json.loads(side.stdout.readline()))
            ours, theirs = found
            yield [Pair(ours[name], theirs[name]) for name in INTERACTIONS]


@contextmanager
def _visitor(python: Path, site: Site) -> Iterator[subprocess.Popen[str]]:
    token = tokens.path_in(site.folder / "state").read_text().strip()
    command = [python, CLIENT, site.address, token, str(site.folder / "state/inbox/none")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


CASES = (
    Case(
        name="console",
        figures=_figures(list(PAGES)),
        pairs=lambda count: _pairs(count, list(PAGES), failures=False),
        full=10_000,
        quick=1_000,
    ),
    Case(
        name="console failures",
        figures=_figures(OF_ITEMS),
        pairs=lambda count: _pairs(count, OF_ITEMS, failures=True),
        full=10_000,
        quick=1_000,
    ),
    Case(
        name="console browser",
        figures=[
            Figure(name, f"{FEW} jobs, items", "ms", at_most(100, of="ours"))
            for name in INTERACTIONS
        ],
        pairs=_interactions,
        full=10_000,
        quick=1_000,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
