"""Prefixes of ids, names of pipelines, unreachable daemons, exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from fake_daemon import JOB_1, PIPELINE_A, PIPELINE_A_NEWER, refusal

from claraedge.client.target import find_target, parse_target
from claraedge.errors import InvalidRequestError
from claraedge.wire.nvidia.clara.platform import jobs_pb2, pipelines_pb2


def asked_pipeline(daemon) -> str:
    kind = pipelines_pb2.PipelinesDetailsRequest
    return [a for a in daemon.asked if isinstance(a, kind)][-1].pipeline_id.value


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("aa1", PIPELINE_A),
        ("AA11", PIPELINE_A),
        (PIPELINE_A, PIPELINE_A),
        ("aa110000-0000-0000-0000-000000000000", PIPELINE_A),
        ("aa110000-00", PIPELINE_A),
        ("CT", PIPELINE_A_NEWER),
        ("ct", PIPELINE_A_NEWER),
    ],
)
def test_a_pipeline_is_meant_by_id_by_beginning_or_by_its_newest_name(
    daemon, claraedge, text, meant
):
    assert claraedge("describe", "pipeline", "-p", text).code == 0
    assert asked_pipeline(daemon) == meant


def test_an_ambiguous_beginning_lists_the_candidates(daemon, claraedge):
    answer = claraedge("describe", "pipeline", "-p", "aa")
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "claraedge: 'aa' begins the ids of 2 pipelines; give more digits:",
        f"    {PIPELINE_A}  ct",
        f"    {PIPELINE_A_NEWER}  CT",
    ]


def test_an_unknown_beginning_names_the_command_that_lists_ids(daemon, claraedge):
    answer = claraedge("cancel", "job", "-j", "ffff")
    assert answer.code == 1
    assert "no job has an id that begins with 'ffff'; see: claraedge list jobs" in answer.err
    answer = claraedge("cancel", "job", "-j", "no-hex")
    assert answer.code == 2
    assert "'no-hex' is not the beginning of an id" in answer.err


def test_a_whole_id_needs_no_list(daemon, claraedge):
    claraedge("start", "job", "-j", JOB_1)
    assert not [a for a in daemon.asked if isinstance(a, jobs_pb2.JobsListRequest)]


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [(-0x2001, 1), (-0x2000, 2), (-0x5205, 69), (-0x4999, 1)],
)
def test_an_error_in_the_header_decides_the_exit_code(daemon, claraedge, code, exit_code):
    daemon.fakes.header = refusal(code, "what happened")
    answer = claraedge("start", "job", "-j", JOB_1)
    assert (answer.code, answer.err) == (exit_code, "claraedge: what happened\n")


def test_an_error_without_a_text_still_has_one(daemon, claraedge):
    daemon.fakes.header = refusal(-0x2001)
    answer = claraedge("start", "job", "-j", JOB_1)
    assert (answer.code, answer.err) == (
        1,
        "claraedge: the daemon refused without a message (-8193):"
        " see `journalctl -u claraedge`\n",
    )  # fmt: skip


def test_a_call_that_the_daemon_lacks_is_named(claraedge, tmp_path, monkeypatch):
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    answer = claraedge("status", "--host", f"127.0.0.1:{port}")
    server.stop(0).wait()
    assert answer.code == 1
    assert f"the daemon at 127.0.0.1:{port} does not know this call" in answer.err


# --- unreachable -------------------------------------------------------------------------------


def test_no_socket_says_how_to_start_the_daemon(claraedge, tmp_path):
    answer = claraedge("--host", f"unix:{tmp_path}/x.sock", "list", "jobs")
    assert answer.code == 69
    assert f"there is no socket {tmp_path}/x.sock: the daemon does not run" in answer.err
    assert "claraedge serve" in answer.err
    assert "Traceback" not in answer.err


def test_a_socket_that_nobody_listens_at_says_that_the_daemon_has_ended(claraedge, tmp_path):
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    answer = claraedge("list", "jobs", "--host", f"unix:{path}")
    assert (answer.code, "nobody listens at" in answer.err) == (69, True)


def test_an_address_without_a_daemon_is_named(claraedge):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        answer = claraedge("list", "jobs", "--host", f"127.0.0.1:{port}")
    assert (answer.code, f"no daemon answers at 127.0.0.1:{port}" in answer.err) == (69, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_socket_that_is_not_open_to_the_user_says_so(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    code = (
        "import os; from claraedge.client.target import why_unreachable; os.setuid(65534)\n"
        f"print(why_unreachable('unix:{tmp_path}/closed/x.sock'))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert "is not open to this user" in answer.stdout, answer.stderr


# --- where the daemon is -----------------------------------------------------------------------

RUN = "unix:/run/claraedge/claraedge.sock"


@pytest.mark.parametrize(
    ("host", "environment", "user", "there", "target"),
    [
        ("box:1", {"CLARAEDGE_HOST": "unix:/b"}, 1000, [], "box:1"),
        (None, {"CLARAEDGE_HOST": "unix:/b", "CLARAEDGE_RUNTIME_DIR": "/c"}, 0, [], "unix:/b"),
        (None, {"CLARAEDGE_RUNTIME_DIR": "/c"}, 0, [], "unix:/c/claraedge.sock"),
        (None, {"XDG_RUNTIME_DIR": "/x"}, 1000, [], "unix:/x/claraedge/claraedge.sock"),
        (None, {}, 1000, [], "unix:/run/user/1000/claraedge/claraedge.sock"),
        (None, {"XDG_RUNTIME_DIR": "/x"}, 1000, [RUN[5:]], RUN),
        (None, {"XDG_RUNTIME_DIR": "/x"}, 1000, [RUN[5:], "/x/claraedge/claraedge.sock"],
         "unix:/x/claraedge/claraedge.sock"),
        (None, {}, 0, [], RUN),
        (None, {"XDG_RUNTIME_DIR": "/x"}, 0, [], RUN),
        ("/run/a.sock", {}, 0, [], "unix:/run/a.sock"),
        ("unix:///run/a.sock", {}, 0, [], "unix:/run/a.sock"),
        ("[::1]:80", {}, 0, [], "[::1]:80"),
    ],
)  # fmt: skip
def test_where_the_daemon_is_searched_for(host, environment, user, there, target):
    assert find_target(host, environment, user, lambda p: str(p) in there) == target


@pytest.mark.parametrize(
    "text", ["box", "box:", "tls:box", "tls:", ":80", "box:http", "box:99999", "unix:/" + "x" * 120]
)
def test_a_host_that_names_no_daemon_is_refused(text):
    with pytest.raises(InvalidRequestError):
        parse_target(text)


def test_a_bad_host_is_a_usage_error_for_scripts(claraedge):
    answer = claraedge("list", "jobs", "--host", "box")
    assert (answer.code, answer.err) == (
        2, "claraedge: 'box' names no daemon: give unix:/path, host:port, or tls:host:port\n",
    )  # fmt: skip


# --- the process -------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from claraedge.cli.main import main; main()",
        *(str(a) for a in arguments),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


def test_help_of_every_command_imports_no_grpc():
    code = (
        "import sys\n"
        "from claraedge.cli.main import app, run\n"
        "def paths(c, at):\n"
        "    yield at\n"
        "    for n, s in getattr(c, 'commands', {}).items(): yield from paths(s, [*at, n])\n"
        "all_ = list(paths(app, []))\n"
        "assert len(all_) > 15, all_\n"
        "assert all(run([*p, '--help']) == 0 for p in all_)\n"
        "assert not {'grpc', 'google.protobuf', 'claraedge.client'} & set(sys.modules)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr


def test_a_reader_that_closes_the_output_is_no_error(daemon):
    process = subprocess.Popen(
        command("list", "jobs"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(30) in (1, 141)
    process.stderr.close()


def test_a_closed_output_is_no_error(daemon):
    answer = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command("list", "jobs")],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_file_that_breaks_while_it_is_read_is_one_line_on_stderr(daemon):
    daemon.fakes.upload_breaks = True
    answer = subprocess.run(
        command("upload", "c1", "/proc/self/mem"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 1
    assert answer.stderr == "claraedge: /proc/self/mem: Input/output error\n"
    assert daemon.fakes.upload_broken.wait(30)


def test_control_c_ends_a_watch_quietly(daemon):
    daemon.fakes.statuses = [jobs_pb2.JobsStatusResponse(name="x", state=2, status=1)]
    process = subprocess.Popen(
        command("describe", "job", "-j", JOB_1, "--watch"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().rstrip().endswith("job RUNNING HEALTHY")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.strip()) == (130, "")


def test_serve_passes_its_flags_to_the_daemon(claraedge, monkeypatch, tmp_path):
    import types

    calls = []

    def main(config, overrides):
        calls.append((config, dict(overrides)))
        return 75

    fake = types.ModuleType("claraedge.daemon")
    fake.main = main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "claraedge.daemon", fake)
    monkeypatch.setattr("claraedge.daemon", fake, raising=False)
    monkeypatch.chdir(tmp_path)
    answer = claraedge(
        "serve", "--config", "c.toml", "--state-dir", "s", "--set", "inbox.settle_seconds=0.5",
        "--log-level", "debug",
    )  # fmt: skip
    assert answer.code == 75
    assert calls == [
        (
            Path("c.toml"),
            {
                "state_dir": str(tmp_path / "s"),
                "log.level": "debug",
                "inbox.settle_seconds": "0.5",
            },
        )
    ]
