"""Whatever trees jobs leave: the daemon runs on, also after a restart, and removes all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
from tests.robustness.hostile_trees import PATIENCE, TIMEOUT, TREES
from tests.robustness.site import Site, site

pytestmark = pytest.mark.timeout(TIMEOUT)

#: Those that can be results; the others fail their operator, with the reason.
RESULTS = {"many", "links", "odd", "devices"}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Site]:
    with site(SETTINGS) as served:
        yield served


def test_hostile_outputs_fail_their_own_job_at_most_and_all_of_them_go(daemon: Site) -> None:
    before = canaries(daemon)
    for code in (0, 1):
        for kind in TREES:
            ended = run(daemon, "hostile", kind, code)
            healthy = code == 0 and kind in RESULTS
            wanted = jobs_pb2.JOB_STATUS_HEALTHY if healthy else jobs_pb2.JOB_STATUS_FAULTED
            assert ended.status == wanted, (kind, code, list(ended.messages))
            if code == 0 and not healthy:
                assert "in its outputs" in ended.messages[0]
            assert run(daemon, "hello", kind, 0).status == jobs_pb2.JOB_STATUS_HEALTHY
    until("all is delivered", lambda: not due(daemon), PATIENCE)
    until("only the newest payload is kept", lambda: len(payloads(daemon)) == 1, PATIENCE)
    assert recorded(daemon.folder / "canary") == before
    daemon.check_log()
    killed_and_started(daemon)
    assert recorded(daemon.folder / "canary") == before
    daemon.check_log()


def due(served: Site) -> bool:
    """Whether anything is still on its way to the outbox."""
    outbox = served.state / "outbox"
    folders = [f for f in (outbox, served.state / "failed") if f.exists()]
    return any(path.name.startswith(".tmp-") for f in folders for path in f.iterdir())
