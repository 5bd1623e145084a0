"""What Podman's archive call answers, and what becomes of it."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from claraedge.errors import ContainerError, InvalidImageError, RunnerUnavailableError
from claraedge.runner.containers.archives import MAX_ARCHIVE, file_of
from claraedge.runner.protocol import MAX_FILE
from claraedge.runner.service.http import Response, request


def answer(status: int, body: bytes) -> Response:
    return Response(status=status, headers={}, body=body)


def refusal(status: int, cause: str) -> Response:
    return answer(status, json.dumps({"cause": cause, "message": cause}).encode())


def archive(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.size = kind, len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_a_file_is_its_content() -> None:
    assert file_of(answer(200, archive("app.json", b"{}")), "i", "/app.json") == b"{}"


def test_a_file_of_the_largest_size_fits_into_what_is_read() -> None:
    whole = archive("app.json", b"x" * MAX_FILE)
    assert file_of(answer(200, whole[:MAX_ARCHIVE]), "i", "/app.json") == b"x" * MAX_FILE


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.SYMTYPE])
def test_what_is_no_file_is_absent(kind: bytes) -> None:
    assert file_of(answer(200, archive("app.json", b"", kind)), "i", "/app.json") is None


def test_a_missing_file_is_absent() -> None:
    assert file_of(refusal(404, "no such file or directory"), "i", "/app.json") is None


def test_a_missing_container_does_not_pass_for_a_missing_file() -> None:
    with pytest.raises(RunnerUnavailableError, match="removed in the meantime"):
        file_of(refusal(404, "no such container"), "i", "/app.json")


def test_a_file_that_is_too_large_is_refused_though_it_was_cut_off() -> None:
    cut = archive("app.json", b"x" * (MAX_FILE + 1))[:MAX_ARCHIVE]
    with pytest.raises(InvalidImageError, match="1048577 bytes"):
        file_of(answer(200, cut), "i", "/app.json")


def test_another_refusal_gives_its_reason() -> None:
    with pytest.raises(ContainerError, match="too many levels"):
        file_of(refusal(500, "too many levels of symbolic links"), "i", "/app.json")


@pytest.mark.parametrize(
    ("head", "frame"),
    [
        ("Transfer-Encoding: chunked", lambda step: b"%x\r\n%b\r\n" % (len(step), step)),
        ("Content-Length: 200000000", lambda step: step),
        ("Connection: close", lambda step: step),
    ],
)
async def test_no_more_of_an_answer_is_read_than_is_wanted(
    tmp_path: Path, head: str, frame: Callable[[bytes], bytes]
) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        try:
            while sent < 100_000_000:
                writer.write(frame(b"x" * 30_000))
                await writer.drain()
                sent += 30_000
        except ConnectionError:
            pass
        finally:
            writer.close()

    socket = tmp_path / "s"
    async with await asyncio.start_unix_server(serve, socket):
        response = await request(socket, "GET", "/", most=70_000, timeout=10)
    assert response.body == b"x" * 70_000
    assert sent < 10_000_000
