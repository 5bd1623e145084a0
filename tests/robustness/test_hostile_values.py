"""Whatever an operator leaves where its values in shared memory lie: its own job fails at most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.client import appliance
from claraedge.client.connection import Connection
from claraedge.fs.removal import remove
from claraedge.wire.nvidia.clara.platform import jobs_pb2
from tests.rig.waiting import until
from tests.robustness.hostile_site import (
    SETTINGS,
    canaries,
    killed_and_started,
    payloads,
    recorded,
    run,
)
from tests.robustness.hostile_trees import PATIENCE, TIMEOUT, TREES, VALUES
from tests.robustness.site import Site, site

pytestmark = pytest.mark.timeout(TIMEOUT)

PIPELINE = """
api-version: 0.5.0
name: values
operators:
- name: one
  container: {{image: {image}, tag: '1'}}
  variables: {{KIND: {kind}, EXIT: '{code}', CANARY: {canary}}}
  input: [{{name: study, type: stream, element-type: any, path: /in}}]
  output:
  - {{name: image, type: array, element-type: u8, shape: [4, 4]}}
  - {{name: text, type: string}}
- name: two
  container: {{image: hello, tag: '1'}}
  input: [{{from: one, name: image, type: array, element-type: u8, shape: [4, 4]}}]
  output: [{{name: seen, type: stream, element-type: any, path: /out}}]
"""


@pytest.fixture
def daemon() -> Iterator[Site]:
    with site(SETTINGS) as served:
        memory = values(served)
        yield served
        remove(memory)


def values(served: Site) -> Path:
    """Where the values of this daemon lie."""
    with Connection(served.target) as connection:
        return Path("/dev/shm") / f"claraedge-{appliance.status(connection).instance}"


def test_hostile_values_fail_their_own_job_at_most_and_all_of_them_go(daemon: Site) -> None:
    before, memory = canaries(daemon), values(daemon)
    for code in (0, 1):
        for kind in (*TREES, *VALUES):
            ended = run(daemon, "hostile", kind, code, PIPELINE)
            # What is no value of its own nobody can read: it is removed.
            healthy = code == 0 and kind in TREES
            wanted = jobs_pb2.JOB_STATUS_HEALTHY if healthy else jobs_pb2.JOB_STATUS_FAULTED
            assert ended.status == wanted, (kind, code, list(ended.messages))
            if code == 0 and not healthy:
                assert "its value `" in ended.messages[0], list(ended.messages)
            assert run(daemon, "hello", kind, 0).status == jobs_pb2.JOB_STATUS_HEALTHY
    until("only the newest payload is kept", lambda: len(payloads(daemon)) == 1, PATIENCE)
    assert not memory.exists() or not list(memory.iterdir())
    assert recorded(daemon.folder / "canary") == before
    daemon.check_log()
    killed_and_started(daemon)
    assert not memory.exists() or not list(memory.iterdir())
    assert recorded(daemon.folder / "canary") == before
    daemon.check_log()
