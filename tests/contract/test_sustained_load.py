"""Jobs of two operators without a pause, by many original clients at once, on real Podman.

The daemon met process ids here that had come round, and containers that piled up. The campaign
(CLARAEDGE_CAMPAIGN=1) loads it for an hour, or TESTS_LOAD_SECONDS, by 24 clients.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.bench.soak import Figures, containers
from tests.campaign import CAMPAIGN
from tests.contract.conftest import GpuSite
from tests.contract.flows import end, job_of, register
from tests.contract.original import Original
from tests.integration.daemon.conftest import IMAGE
from tests.rig.waiting import until

CLIENTS = 24 if CAMPAIGN else 3
SECONDS = float(os.environ.get("TESTS_LOAD_SECONDS", "3600")) if CAMPAIGN else 0.0
#: Jobs that each client makes at least.
LEAST = 3
_COMPLETED = 3

TWO = f"""\
api-version: 0.4.0
name: two
operators:
- name: first
  container: {{image: {IMAGE}, tag: "1", command: [sh, -c, "echo ran; echo 1 >/out/n"]}}
  output: [{{path: /out}}]
- name: second
  container: {{image: {IMAGE}, tag: "1", command: [sh, -c, "echo ran; cat /in/n >/out/n"]}}
  input: [{{path: /in, from: first}}]
  output: [{{path: /out}}]
"""

pytestmark = [pytest.mark.podman, pytest.mark.timeout(SECONDS + 600)]


def worked(site: GpuSite, pipeline: str, number: int, until_then: float) -> Sequence[str]:
    """What a client does; the ids of its jobs."""
    client = Original(site.targets["unix"], site.folder / f"client-{number}.log")
    jobs: list[str] = []
    try:
        while len(jobs) < LEAST or time.monotonic() < until_then:
            job = job_of(client, pipeline, f"job-{number}-{len(jobs)}")["job_id"]
            jobs.append(job)
            client.jobs.start_job(job_id=job)
            end(client, job, 300)
    finally:
        client.close()
    return jobs


@pytest.mark.usefixtures("contract_venv")
def test_jobs_without_a_pause_leave_all_books_right(site: GpuSite) -> None:
    assert site.process is not None
    client = Original(site.targets["unix"], site.folder / "client.log")
    pipeline = register(client, TWO)
    client.close()
    process = site.process.pid
    began, before = time.monotonic(), Figures.of(process)
    with ThreadPoolExecutor(CLIENTS) as pool:
        work = [
            pool.submit(worked, site, pipeline, number, began + SECONDS)
            for number in range(CLIENTS)
        ]
        jobs = [job for one in work for job in one.result()]
    took = time.monotonic() - began
    after = Figures.of(process)
    print(f"{len(jobs)} jobs in {took:.0f} s by {CLIENTS} clients; {before}, then {after}")
    assert site.process.poll() is None
    assert len(set(jobs)) == len(jobs)
    with closing(sqlite3.connect(site.state / "claraedge.db", timeout=20)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM jobs WHERE name LIKE 'job-%'")]
        ends = Counter(
            db.execute(
                "SELECT o.name, o.status, o.attempt FROM operators o JOIN jobs j ON j.id = o.job"
                " WHERE j.name LIKE 'job-%'"
            )
        )
        said = Counter(db.execute("SELECT text FROM job_messages"))
    assert len(set(names)) == len(names) == len(jobs)
    wanted = {("first", _COMPLETED, 1): len(jobs), ("second", _COMPLETED, 1): len(jobs)}
    assert ends == wanted, said.most_common(8)
    instance = site.ask("status")["instance"]
    until("the containers are removed", lambda: not containers(instance), 120)
