"""The whole product on real Podman: a file in, results out, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.daemon.conftest import IMAGE, PLAIN_USER
from tests.rig import processes
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]


def operator(name: str, script: str, source: str | None = None, image: str = IMAGE) -> str:
    origin = f", from: {source}" if source else ""
    return (
        f"- name: {name}\n"
        f"  container: {{image: {image}, tag: '1', command: [sh, -c, {json.dumps(script)}]}}\n"
        f"  input: [{{path: /in{origin}}}]\n"
        f"  output: [{{path: /out}}]\n"
    )


def register(site: Site, name: str, *operators: str) -> str:
    definition = site.folder / f"{name}.yaml"
    definition.write_text(f"api-version: 0.4.0\nname: {name}\noperators:\n" + "".join(operators))
    return site.say("create", "pipeline", "-p", definition).strip()


def start_job(site: Site, pipeline: str, *files: Path) -> str:
    given = [argument for file in files for argument in ("-f", str(file))]
    made = site.say("create", "job", "-n", "job", "-p", pipeline, *given, "--start")
    return made.splitlines()[0].removeprefix("JOB_ID:")


def describe(site: Site, job: str) -> Any:
    return site.ask("describe", "job", "-j", job)


def end(site: Site, job: str) -> Any:
    until(f"job {job} has stopped", lambda: describe(site, job)["state"] == "STOPPED")
    return describe(site, job)


def operator_runs(site: Site, job: str, position: int) -> None:
    until(
        f"operator {position} runs",
        lambda: describe(site, job)["operators"][position]["status"] == "RUNNING",
    )


def inbox(site: Site, folder: str) -> Path:
    path = site.folder / "state" / "inbox" / folder
    path.mkdir(parents=True, exist_ok=True)
    return path


def items(site: Site) -> list[Any]:
    found: list[Any] = site.ask("list", "inbox")["items"]
    return found


def containers(site: Site) -> list[str]:
    listed = subprocess.run(
        ["podman", "ps", "-aq", "--filter", f"label=io.claraedge.instance={instance(site)}"],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    return listed.stdout.split()


def instance(site: Site) -> str:
    found: str = site.ask("status")["instance"]
    return found


def podman_id(site: Site, job: str, operator_name: str) -> str:
    listed = subprocess.run(
        ["podman", "ps", "-q", "--no-trunc", "--filter", f"label=io.claraedge.job={job}",
         "--filter", f"label=io.claraedge.operator={operator_name}"],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    (container,) = listed.stdout.split()
    return container


def result(site: Site, folder: str) -> Any:
    """The one result below a pipeline's folder of the outbox."""
    (found,) = (site.folder / "state" / "outbox" / folder).glob("*/result.json")
    return json.loads(found.read_text())


def test_a_dropped_file_becomes_a_result(site: Site) -> None:
    register(site, "shout", operator("up", "tr a-z A-Z </in/word.txt >/out/word.txt; echo ok"))
    (inbox(site, "shout") / "word.txt").write_text("hello\n")
    until("it is delivered", lambda: [i["state"] for i in items(site)] == ["DELIVERED"])
    (item,) = items(site)
    delivered = Path(item["result_path"])
    assert (delivered / "up" / "word.txt").read_text() == "HELLO\n"
    assert result(site, "shout")["status"] == "HEALTHY"
    (original,) = (site.folder / "state" / "originals" / "shout").rglob("word.txt")
    assert original.read_text() == "hello\n"
    assert list(inbox(site, "shout").iterdir()) == []


def test_a_killed_daemon_adopts_the_running_operator(site: Site) -> None:
    pipeline = register(
        site,
        "three",
        operator("first", "echo first; echo 1 >/out/n"),
        operator("second", "echo second; sleep 8; cat /in/n >/out/n", "first"),
        operator("third", "echo third; cat /in/n >/out/n", "second"),
    )
    job = start_job(site, pipeline)
    operator_runs(site, job, 1)
    assert site.process is not None
    site.process.send_signal(signal.SIGKILL)
    site.process.wait()
    site.start()
    ended = end(site, job)
    assert (ended["status"], ended["messages"]) == ("HEALTHY", [])
    for name in ("first", "second", "third"):
        assert site.say("logs", "-j", job, "-o", name) == f"{name}\n", "it ran once"
        attempts = site.folder / "state" / "jobs" / job / "logs" / name
        assert [path.name for path in attempts.iterdir()] == ["1.log"]
    until("no container is left", lambda: containers(site) == [])


def test_sigterm_leaves_the_operator_running_for_the_next_start(site: Site) -> None:
    pipeline = register(site, "slow", operator("only", "sleep 8; echo ran >/out/n"))
    job = start_job(site, pipeline)
    operator_runs(site, job, 0)
    before = podman_id(site, job, "only")
    site.stop()
    assert site.process is not None
    assert site.process.returncode == 0
    state = subprocess.run(
        ["podman", "inspect", "--format", "{{.State.Status}}", before],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert state.stdout.strip() == "running"
    site.start()
    assert end(site, job)["status"] == "HEALTHY"


def test_fifty_files_at_once_become_fifty_jobs_and_results(site: Site) -> None:
    register(site, "each", operator("copy", "cp /in/* /out/"))
    folder = inbox(site, "each")
    for number in range(50):
        (folder / f"file-{number:02}.txt").write_text(f"content {number}\n")
    until(
        "all are delivered",
        lambda: sum(i["state"] == "DELIVERED" for i in items(site)) == 50,
        seconds=150,
    )
    jobs = site.ask("list", "jobs")["jobs"]
    assert len(jobs) == 50
    assert len({i["job_id"] for i in items(site)}) == 50
    results = sorted((site.folder / "state" / "outbox" / "each").glob("*/copy/*.txt"))
    assert sorted(p.name for p in results) == [f"file-{n:02}.txt" for n in range(50)]
    for path in results:
        assert path.read_text() == f"content {int(path.stem[5:])}\n"
    assert list(folder.iterdir()) == []
    assert list((site.folder / "state" / "spool").iterdir()) == []
    until("no container is left", lambda: containers(site) == [])


@pytest.fixture
def of_another_user(site: Site) -> Iterator[Path]:
    """A folder of the inbox with entries of a subordinate user, which is not ours to read."""
    folder = inbox(site, "foreign")
    yield folder
    subprocess.run(["podman", "unshare", "chown", "-R", "0:0", folder], check=True, cwd="/")


def test_entries_of_another_user_are_results_or_parked_with_what_corrects_them(
    site: Site, of_another_user: Path
) -> None:
    folder = of_another_user
    staging = site.folder / "staging"
    staging.mkdir()
    for mode in (0o600, 0o644):
        (staging / f"file-{mode:o}").write_text("x")
        (staging / f"file-{mode:o}").chmod(mode)
    for mode in (0o700, 0o755):
        (staging / f"folder-{mode:o}").mkdir()
        (staging / f"folder-{mode:o}" / "inner").write_text("x")
        (staging / f"folder-{mode:o}").chmod(mode)
    subprocess.run(
        ["podman", "unshare", "sh", "-c",
         f"chown -R 1000:1000 {staging}/*; mv {staging}/* {folder}/"],
        check=True, cwd="/",
    )  # fmt: skip
    register(site, "foreign", operator("list", "find /in -type f >/out/list"))

    def settled() -> bool:
        states = {i["name"]: i["state"] for i in items(site)}
        return len(states) == 4 and set(states.values()) <= {"DELIVERED", "PARKED"}

    until("each has its end", settled)
    ends = {i["name"]: i for i in items(site)}
    assert ends["file-644"]["state"] == "DELIVERED"
    for name in ("file-600", "folder-700", "folder-755"):
        assert ends[name]["state"] == "PARKED", ends[name]
        assert ends[name]["remedy"] == f"sudo claraedge adopt {ends[name]['id']}", ends[name]
        assert ends[name]["reason"]
    # The command that is given corrects it; here podman's user namespace plays the administrator.
    for name in ("file-600", "folder-700", "folder-755"):
        subprocess.run(
            ["podman", "unshare", site.program, "adopt", f"foreign/{name}"],
            env=site.environment, check=True, cwd="/",
        )  # fmt: skip
    until(
        "what was corrected is delivered",
        lambda: all(i["state"] == "DELIVERED" for i in items(site)),
        seconds=90,
    )
    assert len(site.ask("list", "jobs")["jobs"]) == 4


def test_an_image_with_a_user_of_its_own_and_a_closed_umask_delivers(site: Site) -> None:
    register(
        site,
        "closed",
        operator(
            "write", "umask 077; mkdir /out/sub; cat /in/* >/out/sub/f; id -u", image=PLAIN_USER
        ),
        operator("read", "umask 077; cat /in/sub/f >/out/g", "write", image=PLAIN_USER),
    )
    (inbox(site, "closed") / "a").write_text("secret")
    until("it is delivered", lambda: [i["state"] for i in items(site)] == ["DELIVERED"])
    (item,) = items(site)
    assert (Path(item["result_path"]) / "read" / "g").read_text() == "secret"
    assert site.say("logs", "-j", item["job_id"], "-o", "write") == "1000\n"
    shutil.rmtree(site.folder / "state" / "payloads")  # all of it is ours


def test_operators_run_side_by_side(site: Site) -> None:
    meet = "trap 'exit 1' TERM; sleep 60 & wait"
    pipeline = register(site, "pair", operator("left", meet), operator("right", meet))
    job = start_job(site, pipeline)
    until(
        "both run",
        lambda: {o["status"] for o in describe(site, job)["operators"]} == {"RUNNING"},
    )
    assert site.say("cancel", "job", "-j", job, "--reason", "seen enough")
    ended = describe(site, job)
    assert (ended["state"], ended["status"]) == ("STOPPED", "CANCELED")
    assert "canceled: seen enough" in ended["messages"]
    until("no container is left", lambda: containers(site) == [])


def test_failures_say_what_happened(site: Site) -> None:
    crash = operator("only", "sh -c 'kill -11 $$$$'; exit $?")  # $$ is the escape for one $
    cases = {
        "code": (
            operator("only", "echo went wrong >&2; exit 3"),
            "exit code 3; its last line: went",
        ),
        "crash": (crash, "failed with exit code 139 (SIGSEGV: its program crashed"),
        "absent": (operator("only", "true", image="localhost/absent"), "is not on this device"),
        "nocmd": (operator("only", "true").replace("[sh", "[no-such-program"), "could not be"),
    }
    for name, (definition, text) in cases.items():
        job = start_job(site, register(site, name, definition))
        ended = end(site, job)
        assert ended["status"] == "FAULTED", name
        assert text in ended["messages"][0], ended["messages"]
    until("no container is left", lambda: containers(site) == [])


def test_a_failed_item_leaves_its_reason_its_log_and_the_original(site: Site) -> None:
    register(site, "broken", operator("only", "echo no pixels; exit 7"))
    (inbox(site, "broken") / "scan.dcm").write_bytes(b"data")
    until("it has failed", lambda: [i["state"] for i in items(site)] == ["FAILED"])
    (item,) = items(site)
    folder = Path(item["result_path"])
    reason = json.loads((folder / "reason.json").read_text())
    assert "exit code 7" in json.dumps(reason)
    assert "no pixels" in (folder / "logs" / "only.log").read_text()
    (original,) = folder.rglob("scan.dcm")
    assert original.read_bytes() == b"data"


def test_a_killed_conmon_ends_in_a_clear_message(site: Site) -> None:
    job = start_job(site, register(site, "conmon", operator("only", "sleep 60")))
    operator_runs(site, job, 0)
    container = podman_id(site, job, "only")
    inspected = subprocess.run(
        ["podman", "inspect", "--format", "{{.State.ConmonPid}}", container],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    os.kill(int(inspected.stdout), signal.SIGKILL)
    ended = end(site, job)
    assert ended["status"] == "FAULTED"
    assert "exit code unknown: its supervisor" in ended["messages"][0]
    until("no container is left", lambda: containers(site) == [])


def test_a_killed_podman_service_loses_nothing(site: Site) -> None:
    pipeline = register(
        site, "service", operator("one", "sleep 6; echo 1 >/out/n"), operator("two", "true", "one")
    )
    job = start_job(site, pipeline)
    operator_runs(site, job, 0)
    assert site.process is not None
    children = processes.children(site.process.pid)
    services = [child for child in children if "system service" in processes.command(child)]
    assert services
    for service in services:
        os.kill(service, signal.SIGKILL)
    ended = end(site, job)
    assert ended["status"] == "HEALTHY", ended["messages"]


def test_a_container_that_somebody_removes_is_run_again(site: Site) -> None:
    job = start_job(site, register(site, "removed", operator("only", "sleep 8; echo 1 >/out/n")))
    operator_runs(site, job, 0)
    container = podman_id(site, job, "only")
    subprocess.run(["podman", "rm", "-f", "-t", "0", container], check=True, cwd="/")
    ended = end(site, job)
    assert ended["status"] == "HEALTHY"
    assert "interrupted" in ended["messages"][0]
