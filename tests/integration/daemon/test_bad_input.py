"""An error is reported with what to do, and loses nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.daemon.test_main_path import inbox, items, operator, register
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]


def test_definitions_that_are_wrong(site: Site, tmp_path: Path) -> None:
    cases = {
        "a: [1, 2": ":1:",
        "api-version: 0.4.0\nname: x\noperators: []\n": ":3:",
        "api-version: 0.4.0\nname: x\noperators:\n- name: a\n  container: {image: i}\n"
        "  input: [{path: /in, from: b}]\n- name: b\n  container: {image: i}\n"
        "  input: [{path: /in, from: a}]\n": "->",
        "": "holds no definition",
    }
    for text, expected in cases.items():
        file = tmp_path / "wrong.yaml"
        file.write_text(text)
        refused = site.call("create", "pipeline", "-p", file)
        assert refused.returncode != 0
        assert expected in refused.stderr
        assert "Traceback" not in refused.stderr
    assert site.ask("list", "pipelines")["pipelines"] == []


def test_names_that_leave_the_payload_or_are_too_long(site: Site, tmp_path: Path) -> None:
    import grpc

    from claraedge.wire.nvidia.clara.platform import jobs_pb2, payloads_pb2
    from claraedge.wire.nvidia.clara.platform.jobs_pb2_grpc import JobsStub
    from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub

    pipeline = register(site, "names", operator("only", "true"))
    with grpc.insecure_channel(f"unix:{site.runtime}/claraedge.sock") as channel:
        request = jobs_pb2.JobsCreateRequest(name="job")
        request.pipeline_id.value = pipeline
        job = JobsStub(channel).Create(request)
        payloads = PayloadsStub(channel)

        def upload(name: str) -> tuple[int, str]:
            message = payloads_pb2.PayloadsUploadRequest(data=b"x")
            message.payload_id.value = job.payload_id.value
            message.details.name = name
            header = payloads.Upload(iter([message])).header
            return header.code, "".join(header.messages)

        assert upload("/absolute/is/fine") == (0, "")
        for name, text in {
            "../out": "'..'",
            "a/../../b": "'..'",
            "x" * 256: "longer than 255",
            "": "empty",
            "a\x00b": "NUL",
            "a/": "folder",
        }.items():
            code, message = upload(name)
            assert code == -0x3100, name
            assert text in message
        request.name = "n" * 256
        refused = JobsStub(channel).Create(request)
        assert refused.header.code == -0x2100
        names = [
            reply.file.name
            for reply in payloads.Details(
                payloads_pb2.PayloadsDetailsRequest(payload_id=job.payload_id)
            )
        ]
    assert names == ["/input/absolute/is/fine"]


def test_a_link_in_the_inbox_is_never_followed(site: Site, tmp_path: Path) -> None:
    register(site, "links", operator("only", "cat /in/* >/out/all"))
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (inbox(site, "links") / "link").symlink_to(secret)
    until("it has failed", lambda: [i["state"] for i in items(site)] == ["FAILED"])
    (item,) = items(site)
    assert "link" in item["reason"]
    assert secret.read_text() == "secret"
    assert site.ask("list", "jobs")["jobs"] == []
    kept = [p for p in Path(item["result_path"]).rglob("*") if p.is_symlink()]
    assert [p.readlink() for p in kept] == [secret]


def test_a_folder_of_an_unknown_pipeline_waits_for_it(site: Site) -> None:
    waiting = inbox(site, "later") / "a.txt"
    waiting.write_text("hello")
    until("it is parked", lambda: [i["state"] for i in items(site)] == ["PARKED"])
    (item,) = items(site)
    assert "no such pipeline" in item["reason"]
    assert waiting.read_text() == "hello"
    register(site, "later", operator("copy", "cp /in/* /out/"))
    until("it continues by itself", lambda: [i["state"] for i in items(site)] == ["DELIVERED"])


def test_a_second_daemon_is_refused_and_the_first_continues(site: Site, tmp_path: Path) -> None:
    state, runtime = site.folder / "state", site.runtime
    for flags in (
        [f"--state-dir={state}", f"--runtime-dir={runtime}"],
        [f"--state-dir={tmp_path / 'other'}", f"--runtime-dir={runtime}"],
        [f"--state-dir={state}", f"--runtime-dir={runtime}2"],
    ):
        refused = site.call("serve", *flags)
        assert refused.returncode == 75, refused.stderr
        assert "CLARAEDGE_" in refused.stderr
        assert site.serves()


def test_a_socket_that_a_stranger_listens_on_is_left_alone(idle_site: Site) -> None:
    idle_site.runtime.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(idle_site.runtime / "claraedge.sock"))
        stranger.listen()
        refused = idle_site.call(
            "serve", f"--state-dir={idle_site.folder / 's'}", f"--runtime-dir={idle_site.runtime}"
        )
        assert refused.returncode == 75
        assert "another program listens" in refused.stderr


@pytest.fixture
def foreign_state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "foreign"
    folder.mkdir(mode=0o755)
    subprocess.run(["podman", "unshare", "chown", "1000:1000", folder], check=True, cwd="/")
    yield folder
    subprocess.run(["podman", "unshare", "chown", "0:0", folder], check=True, cwd="/")


def test_a_state_folder_of_another_user_is_refused(idle_site: Site, foreign_state: Path) -> None:
    refused = idle_site.call(
        "serve", f"--state-dir={foreign_state}", f"--runtime-dir={idle_site.runtime}"
    )
    assert refused.returncode == 73, refused.stderr
    assert "belongs to user" in refused.stderr
    assert "CLARAEDGE_STATE_DIR" in refused.stderr
    assert list(foreign_state.iterdir()) == []


def test_a_killed_daemons_socket_does_not_keep_the_next_one_from_serving(site: Site) -> None:
    assert site.process is not None
    site.process.send_signal(signal.SIGKILL)
    site.process.wait()
    assert (site.runtime / "claraedge.sock").exists()
    site.start()
    assert site.serves()


def test_all_mistakes_of_a_configuration_are_reported_at_once(idle_site: Site) -> None:
    idle_site.configure("[inbox]\nsetle_seconds = 1\nrescan_seconds = 'often'\n[outbx]\n")
    refused = idle_site.call("serve", f"--runtime-dir={idle_site.runtime}")
    assert refused.returncode == 78
    for text in ("setle_seconds", "did you mean 'settle_seconds'", "rescan_seconds", "outbx"):
        assert text in refused.stderr
