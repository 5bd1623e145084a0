"""A Podman that is missing, too old or cannot run is reported at the start, with what to do."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from claraedge.errors import ConfigurationError
from claraedge.runner.service.service import PodmanService

#: Answers each request with the version of its API, on the socket that it is started with.
_SERVES = """
import socketserver, sys
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip(): pass
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\nLibpod-API-Version: VERSION\\r\\n"
                         b"Content-Length: 2\\r\\nConnection: close\\r\\n\\r\\nOK")
where = [word for word in sys.argv if word.startswith("unix://")]
if where:
    socketserver.UnixStreamServer(where[0].removeprefix("unix://"), Answer).serve_forever()
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


def podman(folder: Path, script: str) -> None:
    program = folder / "podman"
    program.write_text(script)
    program.chmod(0o755)


@asynccontextmanager
async def listening(socket: Path, version: str) -> AsyncIterator[None]:
    """Somebody else's service."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nLibpod-API-Version: {version}\r\nContent-Length: 2\r\n\r\nOK"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, socket):
        yield


async def refused(runtime: Path, shared: Path | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        async with asyncio.timeout(30), PodmanService(runtime, shared=shared):
            pass
    return list(caught.value.messages)


async def test_one_that_is_missing_is_reported_with_its_packages(
    runtime: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(programs))
    (text,) = await refused(runtime)
    assert text.startswith("podman is not installed: install it with `sudo apt-get install podman")


@pytest.mark.parametrize(
    ("says", "reason_says"),
    [
        ("echo no subuid ranges >&2; ", "no subuid ranges"),
        ("", "`podman unshare true` ended with 125 and said nothing"),
    ],
)
async def test_one_that_cannot_run_for_this_user_is_reported_with_its_reason(
    runtime: Path, programs: Path, says: str, reason_says: str
) -> None:
    podman(programs, f"#!/bin/sh\n{says}exit 125\n")
    reason, remedy = await refused(runtime)
    assert reason.startswith("Podman cannot run containers as user ")
    assert reason.endswith(f": {reason_says}")
    assert "sudo usermod --add-subuids" in remedy


@pytest.mark.parametrize("version", ["3.4.4", "4.2.0"])
async def test_one_that_is_too_old_is_reported_with_what_is_needed(
    runtime: Path, programs: Path, version: str
) -> None:
    podman(programs, f"#!{sys.executable}\n{_SERVES.replace('VERSION', version)}")
    (text,) = await refused(runtime)
    assert text.startswith(f"this machine has Podman {version}; claraedge needs Podman 4.3 or")


async def test_an_old_one_that_others_keep_is_reported_as_well(
    runtime: Path, programs: Path, tmp_path: Path
) -> None:
    podman(programs, "#!/bin/sh\n")
    async with listening(tmp_path / "podman.sock", "3.4.4"):
        (text,) = await refused(runtime, tmp_path / "podman.sock")
    assert text.startswith("this machine has Podman 3.4.4;")


async def test_a_socket_that_was_named_and_is_not_there_is_reported_with_its_setting(
    runtime: Path, programs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    podman(programs, "#!/bin/sh\n")
    async with PodmanService(runtime, shared=tmp_path / "none.sock", only_shared=True) as service:
        assert not service.private
    assert f"no Podman answers at {tmp_path}/none.sock" in caplog.text
    assert "take podman.socket out of the configuration" in caplog.text
