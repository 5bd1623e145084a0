"""HTTP/1.1 over a Unix socket on the event loop: the part of it that Podman's service uses.

Each request opens a new connection: the service may be restarted, or exit when idle, between any
two calls, and a new connection costs 0.1 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from claraedge.blocking import in_thread
from claraedge.decoding import decode_json
from claraedge.errors import RunnerUnavailableError

_HEAD_LIMIT = 64 * 1024
_BODY_LIMIT = 256 * 1024 * 1024
_UPLOAD_STEP = 1024 * 1024
_WITHOUT_BODY = (204, 304)
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|`[^`]*`")


class UnreachableError(RunnerUnavailableError):
    """No connection was established, so the request had no effect."""


class BrokenOffError(RunnerUnavailableError):
    """The connection ended before the whole answer: whether the request had any effect
    is unknown.
    """


class TimedOutError(BrokenOffError):
    """The answer did not come in time: whether the request had or will have any effect
    is unknown.
    """


class _Refusal(msgspec.Struct):
    message: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is one of success (2xx)."""
        return 200 <= self.status < 300

    @property
    def reason(self) -> str:
        """Podman's explanation of a refusal, as one text."""
        try:
            refusal = decode_json(self.body, _Refusal)
        except msgspec.MsgspecError:
            return self.body.decode(errors="replace").strip() or f"status {self.status}"
        return refusal.message or refusal.cause or f"status {self.status}"

    @property
    def own_words(self) -> str:
        """The reason without quoted parts, which may come from an image."""
        return _QUOTED.sub("", self.reason)

    @property
    def cause(self) -> str:
        """The innermost error of a refusal: the same text for the same cause; empty where none is
        given.
        """
        try:
            return decode_json(self.body, _Refusal).cause
        except msgspec.MsgspecError:
            return ""


async def request(
    socket: Path,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: object = None,
    upload: Path | None = None,
    most: int | None = None,
    timeout: float,
) -> Response:
    """Sends one request and reads its whole answer, or `most` bytes of its body, within `timeout`
    seconds.

    `body` is sent as JSON; `upload` streams a file of any size instead. Raises UnreachableError or
    BrokenOffError, and OSError where `upload` cannot be read.
    """
    target = f"{path}?{urlencode(query)}" if query else path
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(socket)
            try:
                if upload is not None:
                    return await _send_file(reader, writer, method, target, upload)
                content = b"" if body is None else msgspec.json.encode(body)
                writer.write(_head(method, target, "application/json", len(content)) + content)
                return await _read_response(reader, most)
            finally:
                writer.close()
    except TimeoutError as error:
        raise TimedOutError(
            f"Podman did not answer {method} {path} within {timeout:g} s; if it stays so, check "
            "the machine's load and disk, and `podman ps`"
        ) from error
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise BrokenOffError(
            f"Podman's service broke off in {method} {path}; it is started again by itself"
        ) from error


async def _connect(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_unix_connection(socket, limit=_HEAD_LIMIT)
    except OSError as error:
        raise UnreachableError(
            f"Podman's service does not answer at {socket} ({error.strerror or error}); the daemon "
            "starts its own again by itself, and `systemctl --user start podman.socket` the user's"
        ) from error


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    target: str,
    host: str,
    content: bytes = b"",
) -> Response:
    """Sends one request over the caller's connection, to a server other than Podman, and reads the
    answer.

    `content` is JSON. Raises BrokenOffError.
    """
    try:
        writer.write(_head(method, target, "application/json", len(content), host) + content)
        await writer.drain()
        return await _read_response(reader)
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise BrokenOffError(f"{host} broke off in {method} {target}") from error


def _head(method: str, target: str, kind: str, length: int, host: str = "podman") -> bytes:
    return (
        f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    ).encode("ascii")


async def _send_file(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    target: str,
    upload: Path,
) -> Response:
    """Sends a file and reads the answer, which may be a refusal before the file's end."""
    file = await in_thread(upload.open, "rb")
    answer = asyncio.ensure_future(_read_response(reader))
    try:
        left = (await in_thread(upload.stat)).st_size
        writer.write(_head(method, target, "application/x-tar", left))
        while left > 0 and not answer.done():
            step = await in_thread(file.read, min(_UPLOAD_STEP, left))
            if not step:
                raise OSError(f"{upload} became shorter while it was read")
            left -= len(step)
            writer.write(step)
            with contextlib.suppress(ConnectionError):  # the answer gives the reason
                await writer.drain()
        return await answer
    finally:
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        await in_thread(file.close)


async def _read_response(reader: asyncio.StreamReader, most: int | None = None) -> Response:
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    try:
        status = int(status_line.split(" ", 2)[1])
    except (IndexError, ValueError) as error:
        raise BrokenOffError(f"not an HTTP answer: {status_line[:80]!r}") from error
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    body = b"" if status in _WITHOUT_BODY else await _read_body(reader, headers, most)
    return Response(status=status, headers=headers, body=body)


async def _read_body(
    reader: asyncio.StreamReader, headers: Mapping[str, str], most: int | None
) -> bytes:
    enough = _BODY_LIMIT + 1 if most is None else most
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader, enough)
    length = headers.get("content-length")
    if length is None:
        return await _read_to_end(reader, enough)
    return await reader.readexactly(min(enough, _bounded(length, 10)))


async def _read_chunks(reader: asyncio.StreamReader, enough: int) -> bytes:
    body = bytearray()
    while len(body) < enough:
        line = await reader.readuntil(b"\r\n")
        size = _bounded(line.split(b";")[0].decode("ascii", "replace"), 16)
        if size == 0:
            return bytes(body)  # trailers, if any, are dropped with the connection
        body += await reader.readexactly(min(size, enough - len(body)))
        _bounded(str(len(body)), 10)
        if len(body) < enough:
            await reader.readexactly(2)
    return bytes(body)


async def _read_to_end(reader: asyncio.StreamReader, enough: int) -> bytes:
    body = bytearray()
    while len(body) < enough and (step := await reader.read(_HEAD_LIMIT)):
        body += step
        _bounded(str(len(body)), 10)
    return bytes(body[:enough])


def _bounded(text: str, base: int) -> int:
    try:
        size = int(text.strip(), base)
    except ValueError as error:
        raise BrokenOffError(f"a length in Podman's answer is no number: {text[:40]!r}") from error
    if not 0 <= size <= _BODY_LIMIT:
        raise BrokenOffError(f"Podman's answer is too large: {size} bytes")
    return size
