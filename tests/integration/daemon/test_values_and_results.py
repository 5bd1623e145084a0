"""On real Podman: results that are registered, values in shared memory, order without data."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.daemon.conftest import IMAGE, PLAIN_USER
from tests.integration.daemon.test_main_path import (
    containers,
    describe,
    end,
    inbox,
    instance,
    items,
    operator,
    operator_runs,
    podman_id,
    register,
    result,
    start_job,
)
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

PUSH = """\
- name: push
  container:
    image: clara/register-results
    command: [python, register.py, --agent, renderserver, --data, '["DEST"]']
  input: [{path: /in, from: up}]
"""
UP = operator("up", "tr a-z A-Z </in/word.txt >/out/word.txt")
#: A reader with outputs: without the registration, what `up` made would not be delivered.
COUNT = operator("count", "wc -c </in/word.txt >/out/count", "up")


def values(site: Site) -> Path:
    return Path("/dev/shm") / f"claraedge-{instance(site)}"


def test_a_dropped_file_ends_in_registered_results(site: Site) -> None:
    register(site, "shout", UP, COUNT, PUSH)
    (inbox(site, "shout") / "word.txt").write_text("hello\n")
    until("it is delivered", lambda: [i["state"] for i in items(site)] == ["DELIVERED"])
    (item,) = items(site)
    assert (Path(item["result_path"]) / "up" / "word.txt").read_text() == "HELLO\n"
    found = result(site, "shout")
    assert found["registered"] == [{"operator": "push", "agent": "renderserver", "data": ["DEST"]}]
    assert [o["status"] for o in found["operators"]] == ["COMPLETED"] * 3


def test_a_job_of_the_api_delivers_what_it_registers(site: Site) -> None:
    pipeline = register(site, "shout", UP, COUNT, PUSH)
    word = site.folder / "word.txt"
    word.write_text("hello\n")
    job = start_job(site, pipeline, word)
    ended = end(site, job)
    assert ended["status"] == "HEALTHY"
    assert 'agent "renderserver"' in ended["messages"][0]
    assert site.say("logs", "-j", job, "-o", "push").count("\n") == 1
    outbox = site.folder / "state" / "outbox" / "shout"
    until("it is delivered", lambda: bool(list(outbox.glob("*/result.json"))))
    (folder,) = outbox.iterdir()
    assert (folder / "up" / "word.txt").read_text() == "HELLO\n"
    assert (folder / "count" / "count").read_text().strip() == "6"


def typed(make: str, read: str, image: str = IMAGE) -> str:
    """Two operators: the first passes an array, a string and a file to the second."""
    run = "container: {{image: {image}, tag: '1', command: [sh, -c, {script}]}}"
    stream = "{name: NAME, type: stream, element-type: any, path: PATH}"
    array = "name: pixels, type: array, element-type: u16, shape: [32, 1024]"
    return "\n".join(
        [
            "api-version: 0.5.0",
            "name: typed",
            "operators:",
            "- name: make",
            "  " + run.format(image=image, script=json.dumps(make)),
            f"  input: [{stream.replace('NAME', 'study').replace('PATH', '/in')}]",
            "  output:",
            f"  - {{{array}}}",
            "  - {name: text, type: string}",
            "- name: read",
            "  " + run.format(image=image, script=json.dumps(read)),
            "  input:",
            f"  - {{from: make, {array}}}",
            "  - {from: make, name: text, type: string}",
            f"  output: [{stream.replace('NAME', 'seen').replace('PATH', '/out')}]",
        ]
    )


#: Writes into the files that are there: their sizes stay, as with a map of them.
MAKE = (
    "cd /clara/fastio/output; test $(wc -c <pixels) = 65536 || exit 3;"
    " printf abcdef | dd of=pixels bs=1 seek=100 conv=notrunc; printf 'a text' >text"
)
READ = (
    "cd /clara/fastio/input/make; cp pixels text /out;"
    " if echo x 2>/dev/null >>text; then exit 4; fi; echo $CLARAEDGE_FASTIO"
)


def typed_pipeline(site: Site, text: str) -> str:
    definition = site.folder / "typed.yaml"
    definition.write_text(text)
    return site.say("create", "pipeline", "-p", definition).strip()


def check_seen(site: Site, job: str) -> None:
    ended = end(site, job)
    assert (ended["status"], ended["messages"]) == ("HEALTHY", [])
    target = site.folder / "seen"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    payload = ended["payload_id"]
    site.say("download", f"{payload}:/operators/read/seen/*", target)
    found = {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found["text"] == b"a text"
    assert len(found["pixels"]) == 65536
    assert found["pixels"][98:108] == b"\0\0abcdef\0\0"
    assert not values(site).exists()
    assert not list((site.folder / "state" / "payloads").rglob("*.values"))
    until("no container is left", lambda: containers(site) == [])


@pytest.mark.parametrize("image", [IMAGE, PLAIN_USER], ids=["root", "a plain user"])
def test_an_array_and_a_string_pass_through_shared_memory(site: Site, image: str) -> None:
    # A plain user replaces the file, and leaves one that is its own.
    make = MAKE if image == IMAGE else f"{MAKE}; cp text new; chmod 600 new; mv new text"
    job = start_job(site, typed_pipeline(site, typed(make, READ, image)))
    check_seen(site, job)
    seen = json.loads(site.say("logs", "-j", job, "-o", "read"))
    assert [entry["name"] for entry in seen["inputs"]] == ["pixels", "text"]
    assert seen["inputs"][0]["bytes"] == 65536


@pytest.mark.parametrize("lost", [False, True], ids=["kill", "kill, and the memory is lost"])
def test_a_killed_daemon_finds_the_values_again(site: Site, lost: bool) -> None:
    job = start_job(site, typed_pipeline(site, typed(MAKE, f"sleep 8; {READ} >/dev/null")))
    operator_runs(site, job, 1)
    memory = values(site)
    assert [path.name for path in memory.iterdir()] == [job]
    assert site.process is not None
    site.process.send_signal(signal.SIGKILL)
    site.process.wait()
    if lost:  # as a restart of the machine leaves it: no container runs, the tmpfs is empty
        subprocess.run(
            ["podman", "rm", "-f", "-t", "0", podman_id(site, job, "read")],
            capture_output=True, check=True, cwd="/",
        )  # fmt: skip
        shutil.rmtree(memory)
    site.start()
    if lost:
        ended = end(site, job)
        assert ended["status"] == "HEALTHY"
        assert "interrupted" in ended["messages"][0]
        assert ended["operators"][0]["name"] == "make"
        log = site.folder / "state" / "jobs" / job / "logs" / "make"
        assert [path.name for path in log.iterdir()] == ["1.log"], "it was not run again"
        assert not memory.exists()
    else:
        check_seen(site, job)


def test_a_value_that_its_writer_removed_faults_it(site: Site) -> None:
    job = start_job(site, typed_pipeline(site, typed("rm /clara/fastio/output/pixels", READ)))
    ended = end(site, job)
    assert ended["status"] == "FAULTED"
    assert "removed the file of its value `pixels`" in ended["messages"][0]
    assert not values(site).exists()


def test_an_operator_waits_for_one_that_only_comes_first(site: Site) -> None:
    first = operator("first", "sleep 6; echo 1 >/out/n")
    after = operator("after", "test ! -e /in/n; echo 2 >/out/n") + "  order: [first]\n"
    job = start_job(site, register(site, "ordered", after, first))
    operator_runs(site, job, 1)
    assert describe(site, job)["operators"][0]["status"] == "PENDING"
    ended = end(site, job)
    assert ended["status"] == "HEALTHY"
    times = {o["name"]: o for o in ended["operators"]}
    assert times["after"]["started"] >= times["first"]["stopped"]
