"""Pipelines with services and models through a real daemon: they start, are told, shared, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site, until
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE
from tests.integration.daemon.test_main_path import containers, end, operator_runs, start_job
from tests.models_server import models_server_image

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
def serving(idle_site: Site, archives: TestImages, tmp_path: Path) -> Iterator[Site]:
    idle_site.configure(
        "[engine]\ngrace_seconds = 3\n"
        f'[inference]\nimage = "{SERVER}:1"\ncommand = []\nidle_seconds = 3600.0\n'
    )
    idle_site.start()
    idle_site.say("create", "image", "-f", archives.archive(f"{IMAGE}:1"))
    idle_site.say("create", "image", "-f", models_server_image(tmp_path / "m.tar", f"{SERVER}:1"))
    yield idle_site
    # They would outlive the daemon, as is meant.
    idle_site.say("stop")
    until("nothing runs beside jobs", lambda: beside(idle_site) == [] and networks(idle_site) == [])


def register(site: Site, name: str, script: str, extra: str) -> str:
    path = site.folder / f"{name}.yaml"
    path.write_text(
        f"api-version: 0.4.0\nname: {name}\noperators:\n- name: ask\n"
        f"  container: {{image: {IMAGE}, tag: '1', command: [sh, -c, {json.dumps(script)}]}}\n"
        f"  input: [{{path: /in}}]\n  output: [{{path: /out}}]\n{extra}"
    )
    return site.say("create", "pipeline", "-p", path).strip()


def beside(site: Site) -> list[str]:
    """Ids of the containers that run beside jobs."""
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
    """Stores a model; `files` lie beside its weights, and tell the stand-in what to do."""
    folder = site.folder / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(f'name: "{name}"\n')
    for file, text in ({"weights": weights} | files).items():
        (folder / "1" / file).write_text(text)
    site.say("create", "model", "-p", folder, "-t", "unknown")


def test_two_jobs_share_a_service_that_clara_stop_ends(serving: Site) -> None:
    pipeline = register(serving, "echo", ASK, service(ECHO))
    word = serving.folder / "word"
    word.write_text("x")
    for _ in range(2):
        job = start_job(serving, pipeline, word)
        found = end(serving, job)
        assert found["status"] == "HEALTHY", found
        lines = serving.say("logs", "-j", job, "-o", "ask").splitlines()
        assert lines[0] == "hello"
        (address,) = (line for line in lines if line.startswith("ECHO_URI="))
        assert address.endswith(":8080")
    assert len(beside(serving)) == 1
    serving.say("stop")
    until("the service has ended", lambda: beside(serving) == [])
    until("no container is left", lambda: containers(serving) == [])


def test_a_model_is_loaded_before_the_job_and_a_missing_one_fails_it(serving: Site) -> None:
    model(serving, "lung", "weights-of-lung")
    word = serving.folder / "word"
    word.write_text("x")
    found = end(
        serving,
        job := start_job(
            serving, register(serving, "lung-job", WEIGHTS, "  models: [{name: lung}]\n"), word
        ),
    )
    assert found["status"] == "HEALTHY", found
    folder = serving.folder / "got"
    folder.mkdir()
    serving.say("download", f"{job}:/operators/ask/*", folder)
    (weights,) = (path for path in folder.rglob("*") if path.is_file())
    assert "weights-of-lung" in weights.read_text()
    told = dict(
        line.split("=", 1)
        for line in serving.say("logs", "-j", job, "-o", "ask").splitlines()
        if "=" in line
    )
    assert told["NVIDIA_TRITON_HTTPURI"].endswith(":8000")
    assert told["NVIDIA_TRITON_GRPCURI"].endswith(":8001")
    assert told["NVIDIA_CLARA_TRTISURI"] == told["NVIDIA_TRITON_HTTPURI"]

    missing = register(serving, "liver-job", WEIGHTS, "  models: [{name: liver}]\n")
    found = end(serving, start_job(serving, missing, word))
    assert found["status"] == "FAULTED"
    assert any("liver" in message for message in found["messages"]), found["messages"]
    assert [o["status"] for o in found["operators"]] == ["PENDING"]


def test_a_job_with_a_service_outlives_the_daemon(serving: Site) -> None:
    pipeline = register(serving, "slow", f"sleep 4; {ASK}", service(ECHO))
    word = serving.folder / "word"
    word.write_text("x")
    job = start_job(serving, pipeline, word)
    operator_runs(serving, job, 0)
    assert serving.process is not None
    os.kill(serving.process.pid, signal.SIGKILL)
    serving.process.wait()
    serving.start()
    found = end(serving, job)
    assert found["status"] == "HEALTHY", found
    assert serving.say("logs", "-j", job, "-o", "ask").splitlines()[0] == "hello"


def test_a_service_that_does_not_come_up_fails_the_job_with_its_reason(serving: Site) -> None:
    broken = service("echo no model store >&2; exit 4")
    pipeline = register(serving, "broken", ASK, broken)
    word = serving.folder / "word"
    word.write_text("x")
    found = end(serving, start_job(serving, pipeline, word))
    assert found["status"] == "FAULTED"
    assert any("no model store" in message for message in found["messages"]), found["messages"]
    until("no container is left", lambda: containers(serving) == [] and beside(serving) == [])


def test_only_an_operator_that_asks_for_it_has_a_way_out(serving: Site) -> None:
    word = serving.folder / "word"
    word.write_text("x")
    seen = {}
    for network in ("none", "outside"):
        pipeline = register(serving, network, "ls /sys/class/net", f"  network: {network}\n")
        job = start_job(serving, pipeline, word)
        found = end(serving, job)
        assert found["status"] == "HEALTHY", found
        seen[network] = serving.say("logs", "-j", job, "-o", "ask").split()
    assert seen["none"] == ["lo"]
    assert "lo" in seen["outside"]
    assert len(seen["outside"]) == 2
