"""HTTP/1.1 over a Unix socket on the event loop: the part of it that Podman's service uses.

Each request opens a new connection: the service may be restarted, or exit when idle, between any
two calls, and a new connection costs 0.1 ms. h11 reads and writes the protocol's text; time-outs,
limits of size and connections are of this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import h11
import msgspec

from claraedge.blocking import in_thread
from claraedge.decoding import decode_json
from claraedge.errors import RunnerUnavailableError

_HEAD_LIMIT = 64 * 1024
_BODY_LIMIT = 256 * 1024 * 1024
_UPLOAD_STEP = 1024 * 1024
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
                parser, head = _begin(method, target, "application/json", len(content))
                writer.write(head + content)
                return await _read_response(reader, parser, most)
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
        parser, head = _begin(method, target, "application/json", len(content), host)
        writer.write(head + content)
        await writer.drain()
        return await _read_response(reader, parser)
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise BrokenOffError(f"{host} broke off in {method} {target}") from error


def _begin(
    method: str, target: str, kind: str, length: int, host: str = "podman"
) -> tuple[h11.Connection, bytes]:
    """Returns the parser of the answer, and the head of the request."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT - 1)
    headers = [
        ("Host", host),
        ("Connection", "close"),
        ("Content-Type", kind),
        ("Content-Length", str(length)),
    ]
    return parser, parser.send(h11.Request(method=method, target=target, headers=headers))


async def _send_file(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    target: str,
    upload: Path,
) -> Response:
    """Sends a file and reads the answer, which may be a refusal before the file's end."""
    left = (await in_thread(upload.stat)).st_size
    parser, head = _begin(method, target, "application/x-tar", left)
    file = await in_thread(upload.open, "rb")
    answer = asyncio.ensure_future(_read_response(reader, parser))
    try:
        writer.write(head)
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


async def _read_response(
    reader: asyncio.StreamReader, parser: h11.Connection, most: int | None = None
) -> Response:
    head = None
    while not isinstance(head, h11.Response):  # 100 Continue and the like come before it
        parser.receive_data(await reader.readuntil(b"\r\n\r\n"))
        head = _next_part(parser)
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    declared = int(headers.get("content-length", 0))
    enough = _BODY_LIMIT + 1 if most is None else most
    body = bytearray()
    while len(body) < enough and not isinstance(part := _next_part(parser), h11.EndOfMessage):
        if isinstance(part, h11.Data):
            body += part.data
        if (size := max(declared, len(body))) > _BODY_LIMIT:
            raise BrokenOffError(f"Podman's answer is too large: {size} bytes")
        if part is h11.NEED_DATA:
            unread = len(parser.trailing_data[0])  # of a chunk's line, which has the same limit
            parser.receive_data(await reader.read(_HEAD_LIMIT - unread))
    return Response(status=head.status_code, headers=headers, body=bytes(body[:enough]))


def _next_part(parser: h11.Connection) -> object:
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        if parser.trailing_data[1]:  # the end of the connection
            raise ConnectionResetError(str(error)) from error
        text = str(error).replace("bytearray(b", "(")
        raise BrokenOffError(f"not an HTTP answer: {text[:200]}") from error
