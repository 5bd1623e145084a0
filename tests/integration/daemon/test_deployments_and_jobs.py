"""Deployments and jobs on one device: the GPU, Clara.Stop, restarts of the daemon."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE
from tests.integration.daemon.test_gpu_jobs import definition, started
from tests.integration.daemon.test_main_path import end, instance
from tests.integration.stand_in_gpu import KIND, why_there_is_none
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.2; done"


def manifest(name: str, gpus: int = 0) -> str:
    executable = {"name": "run", "docker": f"{IMAGE}:1", "cmd": [FOREVER], "limits": {"memory": 64}}
    component = {
        "name": "main",
        "requiredRuntime": "device",
        "executables": [executable],
        "parameters": [],
        "ros": {"isROS": False},
    }
    plan = {
        "name": "default",
        "components": [component],
        "metadata": {"claraedge": {"gpu": gpus}} if gpus else {},
    }
    return json.dumps({"name": name, "packageVersion": "v1.0.0", "plans": [plan]})


def deploy(site: Site, name: str, gpus: int = 0) -> str:
    """Creates a package and deploys it; returns the id of the deployment."""
    path = site.folder / f"{name}.json"
    path.write_text(manifest(name, gpus))
    package = site.say("create", "package", "-f", path).splitlines()[0].removeprefix("PACKAGE_ID:")
    said = site.say("deploy", package, "--name", name)
    return said.splitlines()[0].removeprefix("DEPLOYMENT_ID:")


def containers(site: Site) -> list[str]:
    label = f"label=io.claraedge.deployments={instance(site)}"
    words = ["podman", "ps", "-aq", "--filter", label]
    listed = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/")
    return sorted(listed.stdout.split())


def deployment(site: Site, text: str) -> dict[str, object]:
    found: dict[str, object] = site.ask("describe", "deployment", text)
    return found


def phase(site: Site, text: str) -> object:
    return deployment(site, text)["phase"]


def waits(site: Site, job: str) -> str:
    return json.dumps(site.ask("describe", "job", "-j", job))


def test_a_job_and_a_deployment_want_the_gpu_and_each_wait_is_visible_and_ends(
    idle_site: Site, archives: TestImages
) -> None:
    reason = why_there_is_none()
    if reason is not None:
        pytest.skip(reason)
    site = idle_site
    site.configure(f'[engine]\ncdi_kind = "{KIND}"\n')
    site.start()
    archives.load(site, f"{IMAGE}:1")
    first = deploy(site, "camera", gpus=1)
    until("the deployment has started", lambda: phase(site, first) == "SUCCEEDED")
    (job,) = started(site, definition("{gpu: 1}", "sleep 4"))
    until("the job says what it waits for", lambda: "deployments hold 1" in waits(site, job))
    second = deploy(site, "viewer", gpus=1)
    until("it says so", lambda: "1 GPUs; 0 are free" in json.dumps(deployment(site, second)))
    site.say("undeploy", first, "--wait")
    until("the second one has started", lambda: phase(site, second) == "SUCCEEDED")
    assert "deployments hold 1" in waits(site, job), "no job passes a deployment that waits"
    site.say("undeploy", second, "--wait")
    assert end(site, job)["status"] == "HEALTHY"
    until("no container is left", lambda: containers(site) == [])


def test_clara_stop_and_a_restart_of_the_daemon_leave_deployments_running(
    idle_site: Site, archives: TestImages
) -> None:
    site = idle_site
    site.start()
    archives.load(site, f"{IMAGE}:1")
    found = deploy(site, "camera")
    until("it has started", lambda: phase(site, found) == "SUCCEEDED")
    before = containers(site)
    assert len(before) == 2
    site.say("stop")
    site.stop()
    site.start()
    until("it runs", lambda: deployment(site, found)["status"] == "RUNNING")
    assert containers(site) == before
    refused = site.call("delete", "package", "camera")
    assert refused.returncode != 0
    assert found in refused.stderr
    site.say("undeploy", found[:9], "--wait")
    assert containers(site) == []
    site.say("delete", "package", "camera")
