"""Operators that do not start, by a whole daemon: each job's message has the cause and a step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.field.case import case
from tests.field.images.archives import BASE, Tree, docker_parts, layer, pack
from tests.field.images.store import Store
from tests.freeze.frozen_site import Site
from tests.integration.daemon.conftest import program
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(300)]

_REPORTED = "The job fails with the cause and what to change."
_ARM = BASE["bin/busybox"][:18] + b"\xb7\x00" + bytes(4096)  # type: ignore[index, operator]
ODD: Tree = {
    **BASE,
    "bin/crlf": b"#!/bin/sh\r\necho hi\r\n",
    "bin/plain": b"echo hi\n",
    "bin/python-less": b"#!/usr/bin/python3\nprint(1)\n",
    "bin/arm": _ARM,
    "bin/closed": b"#!/bin/sh\n",
    "bin/capable": BASE["bin/busybox"],
    "app": None,
    "app/Main": b"#!/bin/sh\n",
    "etc/group": b"root:x:0:\n",
}
_MODES = {"bin/closed": 0o644}

#: What is odd -> the command, what else the image says, and words of the job's message.
STARTS: dict[str, tuple[list[str], dict[str, object], tuple[str, ...]]] = {
    "a program that is not there": (["/bin/gone"], {}, ("no program `/bin/gone`", "`command:`")),
    "a program in another case": (["/app/main"], {}, ("no program `/app/main`", "lower case")),
    "a command line in one word": (
        ["/bin/echo hi"],
        {},
        ("blanks included", "`command: [/bin/echo, hi]`"),
    ),
    "a path below the working directory": (["./Main"], {}, ("`./Main`", "whole path")),
    "a folder in place of a program": (["/app"], {}, ("`/app` of the image cannot be executed",)),
    "a program that nobody may execute": (
        ["/bin/closed"],
        {},
        ("cannot be executed", "chmod 755 /bin/closed"),
    ),
    "a script that was saved on Windows": (["/bin/crlf"], {}, ("saved on Windows", "dos2unix")),
    "a script without a first line": (
        ["/bin/plain"],
        {},
        ("no program for this", "#!/bin/sh"),
    ),
    "a script without its interpreter": (["/bin/python-less"], {}, ("the interpreter", "missing")),
    "a program for another processor": (["/bin/arm"], {}, ("built for another processor",)),
    "a program with a file capability": (
        ["/bin/capable"],
        {},
        ("`/bin/capable` carries a capability in its file", "RUN setcap -r /bin/capable"),
    ),
    "a user that the image lacks": (["true"], {"User": "ghost"}, ("the user `ghost`", "`USER`")),
    "a group that the image lacks": (["true"], {"User": "0:ghosts"}, ("the group `ghosts`",)),
    "a user beyond the range": (["true"], {"User": "100000000"}, ("/etc/subuid", "below 65536")),
    "a working directory that is a file": (
        ["true"],
        {"WorkingDir": "/bin/busybox"},
        ("`/bin/busybox` is no folder", "WORKDIR"),
    ),
    "a relative working directory": (["true"], {"WorkingDir": "app"}, ("no absolute path",)),
    "an operator that writes to its image": (
        ["sh", "-c", "echo x > /etc/y"],
        {},
        ("root of an operator is read-only", "/tmp"),
    ),
}
_SOURCES = {
    "a program that is not there": "moby/moby#38174",
    "a program in another case": "moby/moby#38174",
    "a command line in one word": "opencontainers/runc, libcontainer/init_linux.go",
    "a path below the working directory": "moby/moby#38174",
    "a folder in place of a program": "opencontainers/runc, libcontainer/init_linux.go",
    "a program that nobody may execute": "opencontainers/runc, libcontainer/init_linux.go",
    "a script that was saved on Windows": "execve(2), Interpreter scripts",
    "a script without a first line": "podman-container-tools/buildah#475",
    "a script without its interpreter": "execve(2), Interpreter scripts",
    "a program for another processor": "pypiserver/pypiserver#394",
    "a program with a file capability": "hashicorp/docker-vault#16",
    "a user that the image lacks": "opencontainers/image-spec, config.md",
    "a group that the image lacks": "opencontainers/image-spec, config.md",
    "a user beyond the range": "subuid(5)",
    "a working directory that is a file": "opencontainers/image-spec, config.md",
    "a relative working directory": "opencontainers/image-spec, config.md",
    "an operator that writes to its image": "Project-MONAI/monai-deploy-app-sdk#66",
}


@pytest.fixture
def site(store: Store, tmp_path: Path, short_folder: Path) -> Iterator[Site]:
    """A daemon that serves, on the storage of these tests."""
    assert store.root.parent.exists()
    site = Site(program=program(), folder=tmp_path, runtime=short_folder / "run")
    site.temporary.mkdir()
    site.configure("[inbox]\nsettle_seconds = 0.5\n[engine]\ngrace_seconds = 3\n")
    try:
        site.start()
        yield site
    finally:
        site.stop()


def run(site: Site, image: str, command: list[str]) -> dict[str, Any]:
    """A job of one operator with this command, once it has stopped."""
    path = site.folder / "p.yaml"
    shown = ", ".join(f'"{word}"' for word in command)
    path.write_text(
        "api-version: 0.4.0\nname: odd\noperators:\n- name: starts\n"
        f"  container: {{image: {image}, command: [{shown}]}}\n"
    )
    pipeline = site.say("create", "pipeline", "-p", path).strip()
    job = site.ask("create", "job", "-p", pipeline, "-n", "odd")["job_id"]
    site.say("start", "job", "-j", job)
    until("the job stops", lambda: site.ask("describe", "job", "-j", job)["state"] == "STOPPED")
    found: dict[str, Any] = site.ask("describe", "job", "-j", job)
    return found


@case(
    10,
    "operators that cannot start",
    source="; ".join(sorted(set(_SOURCES.values()))),
    outcome=_REPORTED,
)
def test_each_failed_start_has_its_cause_and_a_step(site: Site) -> None:
    wrong = {}
    for number, (what, (command, config, words)) in enumerate(STARTS.items()):
        name = f"localhost/field/odd:{number}" if config else "localhost/field/odd:plain"
        if config or not number:
            tree = layer(ODD, capability="bin/capable", modes=_MODES)
            archive = pack(site.folder / "odd.tar", docker_parts(name, [tree], **config))
            site.say("create", "image", "-f", archive)
        job = run(site, name, command)
        said = " ".join(job["messages"])
        if job["status"] != "FAULTED" or not all(word in said for word in words):
            wrong[what] = (job["status"], said)
    assert not wrong


@case(
    10,
    "an image without a program, in a pipeline without a command",
    source="moby/moby#38174",
    outcome=_REPORTED,
)
def test_an_image_without_a_program_is_reported(site: Site) -> None:
    archive = pack(site.folder / "a.tar", docker_parts("localhost/field/bare:1", [layer(BASE)]))
    site.say("create", "image", "-f", archive)
    job = run(site, "localhost/field/bare:1", [])
    assert "no program to run" in " ".join(job["messages"])


@case(
    5,
    "an image is damaged by a power cut, and a job uses it",
    source="containers/podman#5986",
    outcome="Job, list and status name the damage; loading the image again makes it right.",
)
def test_damage_is_reported_everywhere_and_a_load_makes_it_right(site: Site, store: Store) -> None:
    name = "localhost/field/cut:1"
    tree = layer({**BASE, "etc/cut": b"cut"})
    archive = pack(site.folder / "cut.tar", docker_parts(name, [tree]))
    site.say("create", "image", "-f", archive)
    assert run(site, name, ["true"])["status"] == "HEALTHY"
    (base,) = store.layers(name)
    store.run(': > "$1/diff/bin/busybox"', store.folder(base))

    said = " ".join(run(site, name, ["true"])["messages"])
    assert f"the image {name} is damaged on this device" in said
    assert "bin/busybox has 0 of" in said
    assert "claraedge create image -f" in said
    (listed,) = [i for i in site.ask("list", "images")["images"] if name in i["names"]]
    assert "bin/busybox has 0 of" in listed["problem"]
    assert any("is damaged" in text for text in site.ask("status")["warnings"])

    loaded = site.ask("create", "image", "-f", archive)
    assert any("was damaged on this device" in text for text in loaded["warnings"])
    assert run(site, name, ["true"])["status"] == "HEALTHY"
    assert not any("is damaged" in text for text in site.ask("status")["warnings"])
    site.say("delete", "image", name)
    assert not [i for i in site.ask("list", "images")["images"] if name in i["names"]]


@case(
    10,
    "an archive in the folder for images is cut off, and is copied again",
    source="ansible-collections/community.docker#46",
    outcome="List and status say why it is not loaded; once it is whole, it is loaded by itself.",
)
def test_an_archive_that_cannot_be_loaded_is_reported_until_it_is_replaced(site: Site) -> None:
    name = "localhost/field/dropped:1"
    tree = layer({**BASE, "etc/dropped": b"dropped"})
    whole = pack(site.folder / "whole.tar", docker_parts(name, [tree])).read_bytes()
    dropped = site.state / "images.d" / "dropped.tar"
    (dropped.parent / "later.tar.part").write_bytes(whole[:1000])
    dropped.write_bytes(whole[:900_000])

    def image_warnings() -> list[str]:
        warnings: list[str] = site.ask("list", "images")["warnings"]
        return warnings

    until("the archive is refused", lambda: len(image_warnings()) == 1)
    (warning,) = image_warnings()
    assert f"{dropped} is not loaded: it ends in the middle" in warning
    assert warning in site.ask("status")["warnings"]
    dropped.write_bytes(whole)

    def names() -> list[str]:
        return [n for i in site.ask("list", "images")["images"] for n in i["names"]]

    until("the archive is loaded", lambda: name in names())
    assert not image_warnings()
    assert run(site, name, ["true"])["status"] == "HEALTHY"
