"""Images that a job needs and the device lacks: pulled by the daemon, or the pull given up."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.test_main_path import describe, end, start_job
from tests.rig.stub_registry import StubRegistry
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]

_GRACE = 3


@pytest.fixture
def registry(archives: TestImages) -> Iterator[StubRegistry]:
    with StubRegistry() as registry:
        registry.add(archives.archive("localhost/ce-test/pulled:1"), "team/clara/app", "1")
        registry.require("user", "secret")
        yield registry
    subprocess.run(
        ["podman", "rmi", "-f", f"{registry.host}/team/clara/app:1"], capture_output=True, cwd="/"
    )


@pytest.fixture
def site(idle_site: Site, registry: StubRegistry) -> Site:
    password = idle_site.folder / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    idle_site.configure(
        f"[engine]\ngrace_seconds = {_GRACE}\n"
        "[images]\n"
        f'registries = ["{registry.host}/team"]\n'
        'pull = "missing"\n'
        f'insecure_registries = ["{registry.host}"]\n'
        "[images.credentials.ngc-clara]\n"
        f'registry = "{registry.host}"\nusername = "user"\npassword_file = "{password}"\n'
    )
    idle_site.start()
    return idle_site


def pipeline(site: Site, secrets: str) -> str:
    definition = site.folder / "pulled.yaml"
    definition.write_text(
        f"api-version: 0.4.0\nname: pulled\n{secrets}operators:\n"
        "- name: only\n"
        "  container: {image: clara/app, tag: '1', command: [sh, -c, 'echo ran; echo 1 >/out/n']}\n"
        "  output: [{path: /out}]\n"
    )
    return site.say("create", "pipeline", "-p", definition).strip()


def test_a_job_runs_with_an_image_that_is_pulled_for_it(site: Site, registry: StubRegistry) -> None:
    job = start_job(site, pipeline(site, "pull-secrets: [ngc-clara]\n"))
    ended = end(site, job)
    assert (ended["status"], ended["messages"]) == ("HEALTHY", [])
    assert site.say("logs", "-j", job, "-o", "only") == "ran\n"
    asked = len(registry.requests)
    assert asked > 0
    job = start_job(site, pipeline(site, "pull-secrets: [ngc-clara]\n"))
    assert end(site, job)["status"] == "HEALTHY"
    assert len(registry.requests) == asked
    log = (site.folder / "daemon.log").read_text()
    assert "image pulled" in log
    assert "secret\n" not in log


def test_a_job_without_the_pull_secret_fails_and_says_so(site: Site) -> None:
    ended = end(site, start_job(site, pipeline(site, "")))
    assert ended["status"] == "FAULTED"
    assert "names no pull secret" in ended["messages"][0]


def test_a_job_is_cancelled_while_its_image_is_pulled(site: Site, registry: StubRegistry) -> None:
    registry.stall()
    job = start_job(site, pipeline(site, "pull-secrets: [ngc-clara]\n"))
    until("the pull hangs", registry.stalled.is_set)
    assert describe(site, job)["operators"][0]["status"] == "PENDING"
    began = time.monotonic()
    site.say("cancel", "job", "-j", job)
    ended = end(site, job)
    assert time.monotonic() - began < _GRACE + 2
    assert (ended["status"], ended["operators"][0]["status"]) == ("CANCELED", "PENDING")
    assert registry.left.wait(1), "the pull lived on"


def test_the_end_of_the_daemon_ends_a_pull_and_the_next_one_makes_it_again(
    site: Site, registry: StubRegistry
) -> None:
    registry.stall()
    job = start_job(site, pipeline(site, "pull-secrets: [ngc-clara]\n"))
    until("the pull hangs", registry.stalled.is_set)
    site.stop()
    assert registry.left.wait(5), "the pull lived on"
    registry.release()
    site.start()
    assert end(site, job)["status"] == "HEALTHY"
