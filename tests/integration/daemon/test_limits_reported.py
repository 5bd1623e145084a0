"""A daemon says which limits its machine does not enforce: once in the journal, and in status."""

from __future__ import annotations

import subprocess

import pytest

from claraedge.runner.limits import enforced, warning
from tests.freeze.frozen_site import Site

pytestmark = pytest.mark.podman


def test_limits_that_are_not_enforced_are_reported_once(idle_site: Site) -> None:
    asked = subprocess.run(
        ["podman", "info", "--format", "{{.Host.CgroupsVersion}} {{.Host.CgroupControllers}}"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    ).stdout.split(maxsplit=1)
    text = warning(enforced(asked[0], asked[1].strip("[] \n").split()))
    idle_site.start()
    for _ in range(2):
        found = [w for w in idle_site.ask("status")["warnings"] if "enforced" in w]
        assert found == ([] if text is None else [text])
    idle_site.stop()
    journal = (idle_site.folder / "daemon.log").read_text()
    assert journal.count("are not enforced") == (0 if text is None else 1)
