"""Images with the manifest of an application run as operators without any command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.daemon.test_main_path import (
    containers,
    describe,
    end,
    inbox,
    items,
    start_job,
)
from tests.rig.operators import busybox_image
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

#: Knows its folders by the variable that it is given alone, and tells what it was given.
PROGRAM = """#!/bin/sh
set -e
in=$(eval "echo \\$$1"); out=$(eval "echo \\$$2")
tr a-z A-Z <"$in/word.txt" >"$out/word.txt"
env | sort >"$out/env"
pwd >"$out/pwd"
echo "$# $3" >"$out/arguments"
stat -f -c '%b %S' /dev/shm >"$out/shm"
touch /opt/written
"""
#: An entry point that must not run: like those of the packagers, it needs what is not here.
ENTRY = "#!/bin/sh\necho the entry point ran; exit 9\n"

MONAI = {
    "/opt/program": PROGRAM.encode(),
    "/opt/entry": ENTRY.encode(),
    "/etc/monai/app.json": json.dumps(
        {
            "api-version": "0.1.0",
            "command": "/opt/program MONAI_INPUTPATH MONAI_OUTPUTPATH 'a b'",
            "environment": {"LITERAL": "$(NVIDIA_CLARA_JOBID)"},
            "input": {"path": "input", "formats": []},
            "output": {"path": "output", "format": {}},
            "timeout": 0,
            "working-directory": "/opt",
        }
    ).encode(),
    "/etc/monai/pkg.json": json.dumps(
        {"resources": {"cpu": 1, "gpu": 0, "memory": "64Mi"}}
    ).encode(),
}
HOLOSCAN = {
    "/opt/program": PROGRAM.encode(),
    "/opt/entry": ENTRY.encode(),
    "/etc/holoscan/app.json": json.dumps(
        {
            "apiVersion": "1.0.0",
            "command": '["/opt/program", "HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH", "a b"]',
            "environment": {"HOLOSCAN_INPUT_PATH": "input/", "HOLOSCAN_WORKDIR": "/var/holoscan"},
            "input": {"path": "input/", "formats": None},
            "output": {"path": "output/", "formats": None},
            "sdk": "monai-deploy",
            "workingDirectory": "/opt",
        }
    ).encode(),
    "/etc/holoscan/pkg.json": json.dumps(
        {"resources": {"cpu": 1, "sharedMemory": "32Mi"}}
    ).encode(),
}
KINDS = {"monai": (MONAI, 1 << 30), "holoscan": (HOLOSCAN, 32 << 20)}


def load(site: Site, kind: str, files: dict[str, bytes]) -> str:
    """Loads the image of an application, whose user is not root, and registers its pipeline."""
    image = f"localhost/ce-test/application-{kind}"
    archive = busybox_image(
        site.folder / "app.tar", f"{image}:1", entrypoint=["/opt/entry"], files=files
    )
    site.say("create", "image", "-f", archive)
    return image


def register(site: Site, name: str, image: str, more: str = "") -> str:
    definition = site.folder / f"{name}.yaml"
    definition.write_text(
        f"api-version: 0.4.0\nname: {name}\noperators:\n"
        f"- name: app\n  container: {{image: {image}, tag: '1'}}\n{more}"
    )
    return site.say("create", "pipeline", "-p", definition).strip()


def check(folder: Path, shared_memory: int, root: str = "/opt") -> dict[str, str]:
    """What the program left; returns its environment."""
    assert (folder / "word.txt").read_text() == "HELLO\n"
    assert (folder / "pwd").read_text() == "/opt\n"
    assert (folder / "arguments").read_text() == "3 a b\n"
    blocks, size = map(int, (folder / "shm").read_text().split())
    assert blocks * size == shared_memory
    lines = (folder / "env").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    assert seen["HOLOSCAN_INPUT_PATH"] == seen["MONAI_INPUTPATH"] == f"{root}/input"
    assert seen["HOLOSCAN_OUTPUT_PATH"] == seen["MONAI_OUTPUTPATH"] == f"{root}/output"
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_file_runs_through_an_application_and_is_delivered(site: Site, kind: str) -> None:
    files, shared_memory = KINDS[kind]
    register(site, kind, load(site, kind, files))
    (inbox(site, kind) / "word.txt").write_text("hello\n")
    until("it is delivered", lambda: [i["state"] for i in items(site)] == ["DELIVERED"])
    (item,) = items(site)
    seen = check(Path(item["result_path"]) / "app", shared_memory)
    if kind == "monai":
        assert seen["LITERAL"] == "$(NVIDIA_CLARA_JOBID)"
        assert seen["MONAI_JOBID"] == seen["NVIDIA_CLARA_JOBID"]
        assert seen["MONAI_MODELPATH"] == "/opt/monai/models"
    else:
        assert seen["HOLOSCAN_WORKDIR"] == "/var/holoscan"
    until("its container is removed", lambda: containers(site) == [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_of_the_api_runs_an_application_and_its_output_is_downloaded(
    site: Site, kind: str
) -> None:
    files, shared_memory = KINDS[kind]
    pipeline = register(site, kind, load(site, kind, files))
    word = site.folder / "word.txt"
    word.write_text("hello\n")
    job = start_job(site, pipeline, word)
    ended = end(site, job)
    assert ended["status"] == "HEALTHY", ended["messages"]
    target = site.folder / "downloaded"
    target.mkdir()
    site.say("download", f"{ended['payload_id']}:/operators/app/*", target)
    check(next(target.rglob("word.txt")).parent, shared_memory)


def test_a_wrong_manifest_refuses_the_start_and_parks_what_is_dropped(site: Site) -> None:
    wrong = {"/etc/holoscan/app.json": b'{"command": 3}'}
    image = load(site, "wrong", wrong)
    pipeline = register(site, "wrong", image)
    reason = f"the image {image}:1: /etc/holoscan/app.json: it cannot be read"
    made = site.call("create", "job", "-n", "job", "-p", pipeline, "--start")
    assert made.returncode != 0
    assert reason in made.stderr
    (inbox(site, "wrong") / "word.txt").write_text("hello\n")
    until("it is parked", lambda: [i["state"] for i in items(site)] == ["PARKED"])
    (item,) = items(site)
    assert reason in item["reason"]
    site.say("create", "image", "-f", busybox_image(
        site.folder / "right.tar", f"{image}:1", files=MONAI
    ))  # fmt: skip
    until("the right image frees it", lambda: [i["state"] for i in items(site)] == ["DELIVERED"])


def test_an_image_that_comes_after_the_start_is_run_as_an_application(
    site: Site, tmp_path: Path
) -> None:
    image = "localhost/ce-test/application-late"
    busy = site.folder / "busy.yaml"
    busy.write_text(
        "api-version: 0.4.0\nname: busy\noperators:\n- name: wait\n"
        "  container: {image: localhost/ce-test/busybox, tag: '1', command: [sleep, '4']}\n"
        f"- name: app\n  order: [wait]\n  container: {{image: {image}, tag: '1'}}\n"
        "  input: [{path: /given}]\n"
    )
    pipeline = site.say("create", "pipeline", "-p", busy).strip()
    word = tmp_path / "word.txt"
    word.write_text("hello\n")
    job = start_job(site, pipeline, word)
    site.say("create", "image", "-f", busybox_image(
        site.folder / "late.tar", f"{image}:1", files=MONAI
    ))  # fmt: skip
    ended: Any = end(site, job)
    assert ended["status"] == "HEALTHY", (ended, describe(site, job))
    target = site.folder / "downloaded"
    target.mkdir()
    site.say("download", f"{ended['payload_id']}:/operators/app/*", target)
    (environment,) = target.rglob("env")
    assert "MONAI_INPUTPATH=/given\n" in environment.read_text()
