"""The socket: who may call, who may replace it, and what is said where it cannot be."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from claraedge.api.transport.calls import CallLimits
from claraedge.api.transport.server import RuntimeFolder, Server
from claraedge.config import Config
from claraedge.errors import AlreadyRunningError, ConfigurationError
from claraedge.wire.nvidia.clara.platform import clara_pb2
from tests.unit.api.conftest import Daemon, daemon_in


async def answers(daemon: Daemon) -> bool:
    return bool((await daemon.clara.Version(clara_pb2.ClaraVersionRequest())).version.minor == 8)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_the_socket_is_for_its_group_and_the_folder_as_well(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with daemon_in(folder) as daemon:
            path = daemon.config.socket
            assert path.is_socket()
            assert (mode(path), mode(path.parent)) == (0o660, 0o750)
            assert mode(daemon.config.state_dir) & 0o027 == 0
            assert os.umask(umask) == umask  # given back
    finally:
        os.umask(before)
    assert not path.exists()


async def test_a_second_daemon_is_refused_and_the_first_continues(
    folder: Path, daemon: Daemon
) -> None:
    with pytest.raises(AlreadyRunningError, match="CLARAEDGE_RUNTIME_DIR"):
        async with daemon_in(folder):
            pass
    assert daemon.config.socket.is_socket()
    assert await answers(daemon)


async def test_a_second_daemon_with_the_same_state_is_refused_and_the_first_continues(
    folder: Path, daemon: Daemon
) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "state").symlink_to(folder / "state")
    with pytest.raises(AlreadyRunningError, match="CLARAEDGE_STATE_DIR"):
        async with daemon_in(folder / "other"):
            pass
    assert await answers(daemon)


def leave_a_dead_socket(path: Path) -> None:
    path.parent.mkdir(mode=0o750, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


async def test_a_socket_that_a_killed_daemon_left_is_replaced(folder: Path) -> None:
    leave_a_dead_socket(folder / "run" / "claraedge.sock")
    async with daemon_in(folder) as daemon:
        assert await answers(daemon)


@pytest.mark.parametrize("backlog", [5, 0])
async def test_a_stranger_that_listens_keeps_its_socket(folder: Path, backlog: int) -> None:
    path = folder / "run" / "claraedge.sock"
    (folder / "run").mkdir()
    callers = []
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen(backlog)
        if backlog == 0:  # it is busy, and its queue full: nobody gets through
            for _ in range(2):
                caller = socket.socket(socket.AF_UNIX)
                caller.setblocking(False)
                callers.append(caller)
                caller.connect_ex(str(path))
        with pytest.raises(AlreadyRunningError, match="another program listens"):
            async with daemon_in(folder):
                pass
        for caller in callers:
            caller.close()
    assert path.is_socket()


async def test_a_file_in_the_way_is_named_and_kept(folder: Path) -> None:
    (folder / "run").mkdir()
    path = folder / "run" / "claraedge.sock"
    path.write_text("notes")
    with pytest.raises(ConfigurationError, match="not a socket"):
        async with daemon_in(folder):
            pass
    assert path.read_text() == "notes"


def test_a_path_that_is_too_long_for_a_socket_is_reported(tmp_path: Path) -> None:
    runtime = tmp_path / ("r" * 100)
    with (
        pytest.raises(ConfigurationError, match="shorter CLARAEDGE_RUNTIME_DIR"),
        RuntimeFolder(runtime / "claraedge.sock"),
    ):
        pass
    assert not runtime.exists()


def test_a_runtime_folder_that_is_a_file_is_reported(folder: Path) -> None:
    (folder / "run").write_text("")
    with (
        pytest.raises(ConfigurationError, match="CLARAEDGE_RUNTIME_DIR"),
        RuntimeFolder(folder / "run" / "claraedge.sock"),
    ):
        pass


async def test_a_daemon_that_cannot_serve_gives_all_locks_back(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "claraedge.sock").write_text("notes")
    with pytest.raises(ConfigurationError):
        async with daemon_in(folder):
            pass
    (folder / "run" / "claraedge.sock").unlink()
    async with daemon_in(folder) as daemon:
        assert await answers(daemon)


def test_the_socket_lies_in_the_runtime_folder() -> None:
    config = Config(state_dir=Path("/state"), runtime_dir=Path("/run/x"))
    assert config.socket == Path("/run/x/claraedge.sock")


async def test_a_port_in_use_is_reported_and_may_be_free_later(
    folder: Path,
) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        server = Server(folder / "s.sock", [], CallLimits(unary=1.0, idle=1.0), [address])
        with pytest.raises(AlreadyRunningError, match="ss -ltnp") as caught:
            async with server:
                pass
    assert str(caught.value).startswith(f"{address} cannot be listened on")
    assert caught.value.exit_code == 75, "systemd starts it again"


async def test_an_address_of_others_without_a_certificate_is_refused(folder: Path) -> None:
    server = Server(folder / "s.sock", [], CallLimits(unary=1.0, idle=1.0), ["0.0.0.0:30031"])
    with pytest.raises(ConfigurationError, match=r"set tls\.certificate and tls\.key"):
        async with server:
            pass
