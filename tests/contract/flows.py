"""Definitions that the tests register, and waiting for jobs by the clients' own calls."""

from __future__ import annotations

import time
from typing import Any

from tests.contract.original import Original
from tests.integration.daemon.conftest import IMAGE
from tests.rig.waiting import until

STOPPED = 3
HEALTHY, FAULTED, CANCELED = 1, 2, 3

#: Two operators and a parameter with a default.
GREET = f"""\
api-version: 0.4.0
name: greet
parameters:
  GREETING: hello
operators:
- name: up
  container:
    image: {IMAGE}
    tag: "1"
    command: [sh, -c, "tr a-z A-Z </in/name.txt >/out/name.txt && echo upper && echo done"]
  input: [{{path: /in}}]
  output: [{{path: /out}}]
- name: greet
  container:
    image: {IMAGE}
    tag: "1"
    command: [sh, -c, "echo ${{{{ GREETING }}}} $(cat /in/name.txt) >/out/greeting.txt"]
  input: [{{path: /in, from: up}}]
  output: [{{path: /out}}]
"""

#: Runs until it is cancelled.
ENDLESS = f"""\
api-version: 0.4.0
name: endless
operators:
- name: wait
  container: {{image: {IMAGE}, tag: "1", command: [sh, -c, "echo began; sleep 300"]}}
"""

FAILS = f"""\
api-version: 0.4.0
name: fails
operators:
- name: fail
  container: {{image: {IMAGE}, tag: "1", command: [sh, -c, "echo no >&2; exit 7"]}}
"""

#: Lists its input.
SHOW = f"""\
api-version: 0.4.0
name: show
operators:
- name: show
  container:
    image: {IMAGE}
    tag: "1"
    command: [sh, -c, "cd /in && ls -R . >/out/list && cat */a.txt b.txt >/out/content"]
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""


def register(client: Original, text: str) -> str:
    pipeline: str = client.pipelines.create_pipeline(definition=[["pipeline.yaml", text]])
    return pipeline


def job_of(client: Original, pipeline: str, name: str, **more: Any) -> dict[str, Any]:
    job: dict[str, Any] = client.jobs.create_job(pipeline_id=pipeline, job_name=name, **more)
    return job


def end(client: Original, job: str, seconds: float = 60) -> dict[str, Any]:
    """Polls as the original samples do."""
    deadline = time.monotonic() + seconds
    while True:
        status: dict[str, Any] = client.jobs.get_status(job_id=job)
        if status["job_state"] == STOPPED:
            return status
        assert time.monotonic() < deadline, f"the job did not stop in {seconds} s: {status}"
        time.sleep(0.1)


def runs(client: Original, job: str, operator: str, seconds: float = 60) -> None:
    def running() -> bool:
        status: dict[str, Any] = client.jobs.get_status(job_id=job)
        return bool(status["operator_details"][operator]["status"] == 2)

    until(f"the operator {operator} runs", running, seconds)
