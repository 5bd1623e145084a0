"""Pipelines with services and models through a real daemon: start, address, sharing and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE
from tests.integration.daemon.test_main_path import containers, end, operator_runs, start_job
from tests.rig.models_server import models_server_image
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

SERVER = "localhost/ce-test/models-server"
#: Answers each connection with what it was sent.
ECHO = "echo up; while true; do busybox nc -l -p 8080 -e cat; done"
ASK = (
    "host=${ECHO_URI%:*} port=${ECHO_URI#*:};"
    " for i in 1 2 3 4 5 6 7 8 9 10; do said=$(echo hello | busybox nc -w 2 $host $port 2>&1);"
    ' [ "$said" = hello ] && break; sleep 0.2; done; echo "$said" | tee /out/said; env'
)
WEIGHTS = (
    "host=${NVIDIA_TRITON_HTTPURI%:*} port=${NVIDIA_TRITON_HTTPURI#*:};"
    " printf 'GET /v2/models/lung/weights HTTP/1.1\\r\\n\\r\\n' | busybox nc -w 3 $host $port"
    " > /out/weights; env"
)


@pytest.fixture
def services_site(idle_site: Site, archives: TestImages, tmp_path: Path) -> Iterator[Site]:
    idle_site.configure(
        "[engine]\ngrace_seconds = 3\n"
        f'[inference]\nimage = "{SERVER}:1"\ncommand = []\nidle_seconds = 3600.0\n'
    )
    idle_site.start()
    archives.load(idle_site, f"{IMAGE}:1")
    idle_site.say("create", "image", "-f", models_server_image(tmp_path / "m.tar", f"{SERVER}:1"))
    yield idle_site
    # They would outlive the daemon, as is meant.
    idle_site.say("stop")
    until(
        "no service or network is left",
        lambda: service_containers(idle_site) == [] and networks(idle_site) == [],
    )


def register(site: Site, name: str, script: str, extra: str) -> str:
    path = site.folder / f"{name}.yaml"
    path.write_text(
        f"api-version: 0.4.0\nname: {name}\noperators:\n- name: ask\n"
        f"  container: {{image: {IMAGE}, tag: '1', command: [sh, -c, {json.dumps(script)}]}}\n"
        f"  input: [{{path: /in}}]\n  output: [{{path: /out}}]\n{extra}"
    )
    return site.say("create", "pipeline", "-p", path).strip()


def service_containers(site: Site) -> list[str]:
    """Ids of the containers of services and inference servers."""
    instance = site.ask("status")["instance"]
    return subprocess.run(
        ["podman", "ps", "-q", "--filter", f"label=io.claraedge.services={instance}"],
        capture_output=True, text=True, check=True, cwd="/", timeout=60,
    ).stdout.split()  # fmt: skip


def networks(site: Site) -> list[str]:
    """Names of the networks of this daemon's jobs."""
    instance = site.ask("status")["instance"]
    return subprocess.run(
        ["podman", "network", "ls", "-q", "--filter", f"label=io.claraedge.instance={instance}"],
        capture_output=True, text=True, check=True, cwd="/", timeout=60,
    ).stdout.split()  # fmt: skip


def service(command: str) -> str:
    return (
        "  services:\n  - name: trtis\n"
        f"    container: {{image: {IMAGE}, tag: '1', command: [sh, -c, {json.dumps(command)}]}}\n"
        "    connections: {http: [{name: ECHO_URI, port: 8080}]}\n"
    )


def model(site: Site, name: str, weights: str, **files: str) -> None:
    """Stores a model; `files` are stored next to its weights, and control the stand-in."""
    folder = site.folder / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(f'name: "{name}"\n')
    for file, text in ({"weights": weights} | files).items():
        (folder / "1" / file).write_text(text)
    site.say("create", "model", "-p", folder, "-t", "unknown")


def test_two_jobs_share_a_service_that_clara_stop_ends(services_site: Site) -> None:
    pipeline = register(services_site, "echo", ASK, service(ECHO))
    word = services_site.folder / "word"
    word.write_text("x")
    for _ in range(2):
        job = start_job(services_site, pipeline, word)
        found = end(services_site, job)
        assert found["status"] == "HEALTHY", found
        lines = services_site.say("logs", "-j", job, "-o", "ask").splitlines()
        assert lines[0] == "hello"
        (address,) = (line for line in lines if line.startswith("ECHO_URI="))
        assert address.endswith(":8080")
    assert len(service_containers(services_site)) == 1
    services_site.say("stop")
    until("the service has ended", lambda: service_containers(services_site) == [])
    until("no container is left", lambda: containers(services_site) == [])


def test_a_model_is_loaded_before_the_job_and_a_missing_one_fails_it(services_site: Site) -> None:
    model(services_site, "lung", "weights-of-lung")
    word = services_site.folder / "word"
    word.write_text("x")
    found = end(
        services_site,
        job := start_job(
            services_site,
            register(services_site, "lung-job", WEIGHTS, "  models: [{name: lung}]\n"),
            word,
        ),
    )
    assert found["status"] == "HEALTHY", found
    folder = services_site.folder / "got"
    folder.mkdir()
    services_site.say("download", f"{job}:/operators/ask/*", folder)
    (weights,) = (path for path in folder.rglob("*") if path.is_file())
    assert "weights-of-lung" in weights.read_text()
    environment = dict(
        line.split("=", 1)
        for line in services_site.say("logs", "-j", job, "-o", "ask").splitlines()
        if "=" in line
    )
    assert environment["NVIDIA_TRITON_HTTPURI"].endswith(":8000")
    assert environment["NVIDIA_TRITON_GRPCURI"].endswith(":8001")
    assert environment["NVIDIA_CLARA_TRTISURI"] == environment["NVIDIA_TRITON_HTTPURI"]

    missing = register(services_site, "liver-job", WEIGHTS, "  models: [{name: liver}]\n")
    found = end(services_site, start_job(services_site, missing, word))
    assert found["status"] == "FAULTED"
    assert any("liver" in message for message in found["messages"]), found["messages"]
    assert [o["status"] for o in found["operators"]] == ["PENDING"]


def test_a_job_with_a_service_outlives_the_daemon(services_site: Site) -> None:
    pipeline = register(services_site, "slow", f"sleep 8; {ASK}", service(ECHO))
    word = services_site.folder / "word"
    word.write_text("x")
    job = start_job(services_site, pipeline, word)
    operator_runs(services_site, job, 0)
    assert services_site.process is not None
    os.kill(services_site.process.pid, signal.SIGKILL)
    services_site.process.wait()
    services_site.start()
    found = end(services_site, job)
    assert found["status"] == "HEALTHY", found
    assert services_site.say("logs", "-j", job, "-o", "ask").splitlines()[0] == "hello"


def test_a_service_that_does_not_come_up_fails_the_job_with_its_reason(services_site: Site) -> None:
    broken = service("echo no model store >&2; exit 4")
    pipeline = register(services_site, "broken", ASK, broken)
    word = services_site.folder / "word"
    word.write_text("x")
    found = end(services_site, start_job(services_site, pipeline, word))
    assert found["status"] == "FAULTED"
    assert any("no model store" in message for message in found["messages"]), found["messages"]
    until(
        "no container is left",
        lambda: containers(services_site) == [] and service_containers(services_site) == [],
    )


def test_only_an_operator_that_asks_for_it_has_a_way_out(services_site: Site) -> None:
    word = services_site.folder / "word"
    word.write_text("x")
    seen = {}
    for network in ("none", "outside"):
        pipeline = register(services_site, network, "ls /sys/class/net", f"  network: {network}\n")
        job = start_job(services_site, pipeline, word)
        found = end(services_site, job)
        assert found["status"] == "HEALTHY", found
        seen[network] = services_site.say("logs", "-j", job, "-o", "ask").split()
    assert seen["none"] == ["lo"]
    assert "lo" in seen["outside"]
    assert len(seen["outside"]) == 2
