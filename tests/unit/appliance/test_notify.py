"""The daemon's messages to systemd, read from a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.appliance import notify


@pytest.fixture(params=["path", "abstract"])
def supervisor(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        if request.param == "path":
            address = str(tmp_path / "notify.sock")
            listener.bind(address)
        else:
            address = f"@claraedge-test-{os.getpid()}"
            listener.bind("\0" + address[1:])
        yield listener, {"NOTIFY_SOCKET": address}


def test_ready_names_the_process_that_serves(
    supervisor: tuple[socket.socket, dict[str, str]],
) -> None:
    listener, environment = supervisor
    assert notify.ready("serving", environment=environment)
    assert listener.recv(4096).decode().split("\n") == [
        "READY=1", f"MAINPID={os.getpid()}", "STATUS=serving",
    ]  # fmt: skip


def test_each_message_is_one_datagram(supervisor: tuple[socket.socket, dict[str, str]]) -> None:
    listener, environment = supervisor
    assert notify.status("3 jobs", environment=environment)
    assert notify.extend_timeout(2.5, environment=environment)
    assert notify.stopping(environment=environment)
    assert [listener.recv(4096) for _ in range(3)] == [
        b"STATUS=3 jobs",
        b"EXTEND_TIMEOUT_USEC=2500000",
        b"STOPPING=1\nSTATUS=stopping",
    ]


def test_a_text_with_line_ends_sets_no_second_field(
    supervisor: tuple[socket.socket, dict[str, str]],
) -> None:
    listener, environment = supervisor
    assert notify.status("a\nMAINPID=1", environment=environment)
    assert listener.recv(4096) == b"STATUS=a MAINPID=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_supervisor_nothing_is_sent(environment: dict[str, str]) -> None:
    assert not notify.ready("serving", environment=environment)


def test_a_supervisor_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert not notify.status("up", environment={"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_the_environment_of_the_process_is_the_default(
    supervisor: tuple[socket.socket, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, environment = supervisor
    monkeypatch.setenv("NOTIFY_SOCKET", environment["NOTIFY_SOCKET"])
    assert notify.status("up")
    assert listener.recv(4096) == b"STATUS=up"
