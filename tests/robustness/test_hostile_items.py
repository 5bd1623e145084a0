"""Whatever is dropped into the inbox is one job or one failure, and keeps nothing from going on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from claraedge.client import appliance
from claraedge.client.connection import Connection
from tests.rig.waiting import until
from tests.robustness.hostile_site import (
    SETTINGS,
    canaries,
    killed_and_started,
    payloads,
    recorded,
    register,
)
from tests.robustness.hostile_trees import PATIENCE, TIMEOUT, TREES
from tests.robustness.site import Site, site

pytestmark = pytest.mark.timeout(TIMEOUT)

PIPELINE = """
api-version: 0.4.0
name: ct
operators:
- name: one
  container: {image: hello, tag: '1'}
  input: [{path: /in}]
  output: [{path: /out}]
"""
KEPT_SHORT = """
[inbox]
settle_seconds = 0.3
rescan_seconds = 1
"""
#: Those of which a job can be made.
JOBS = {"many"}


@pytest.fixture
def daemon() -> Iterator[Site]:
    with site(SETTINGS + KEPT_SHORT) as served:
        yield served


def states(served: Site) -> dict[str, tuple[str, str]]:
    """By name, the states of all items, with the reasons."""
    with Connection(served.target) as connection:
        return {i.name: (i.state, i.reason) for i in appliance.list_items(connection)}


def test_hostile_items_are_jobs_or_failures_and_all_of_them_go(daemon: Site) -> None:
    before = canaries(daemon)
    register(daemon, PIPELINE)
    inbox = daemon.state / "inbox/ct"
    inbox.mkdir()
    for kind, tree in TREES.items():
        (inbox / f"{kind}.part").mkdir()
        tree(inbox / f"{kind}.part", daemon.folder / "canary")
        (inbox / f"{kind}.part").rename(inbox / kind)
    (inbox / "good.dcm").write_text("good")
    ends = {"FAILED", "DELIVERED"}

    def ended() -> bool:
        found = states(daemon)
        return {*TREES, "good.dcm"} <= found.keys() and all(s in ends for s, _ in found.values())

    try:
        until("each has ended", ended, PATIENCE)
    finally:
        found = states(daemon)
    for kind, (state, reason) in found.items():
        assert (state == "DELIVERED") == (kind in JOBS | {"good.dcm"}), (kind, state, reason)
    assert list(inbox.iterdir()) == []
    assert recorded(daemon.folder / "canary") == before
    daemon.check_log()

    killed_and_started(daemon)
    until("only the newest payload is kept", lambda: len(payloads(daemon)) == 1, PATIENCE)
    assert list((daemon.state / "spool").iterdir()) == []
    assert recorded(daemon.folder / "canary") == before
    daemon.check_log()
