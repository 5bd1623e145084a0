"""The small HTTP client against a server that says exactly what a test wants it to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from claraedge.runner.service.http import BrokenOffError, UnreachableError, request

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(socket: Path, handler: Handler) -> AsyncIterator[Path]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(handle, socket)
    try:
        yield socket
    finally:
        server.close()


def saying(answer: bytes, heard: list[bytes] | None = None) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(head)
        for start in range(0, len(answer), 7):  # in pieces, as a socket may give them
            writer.write(answer[start : start + 7])
            await writer.drain()

    return handler


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            b"5;x=y\r\nhello\r\nA\r\n, world!!!\r\n0\r\n\r\n",
            200,
            b"hello, world!!!",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\na body", 204, b""),
        (b"HTTP/1.1 304 X\r\nContent-Length: 99999999999\r\n\r\na body", 304, b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n"
            b"5\r\nhello\r\n0\r\nA: b\r\n\r\n",
            200,
            b"hello",
        ),
        (b"HTTP/1.1 200\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello",
            201,
            b"hello",
        ),
    ],
)
async def test_each_form_of_body_is_read_whole(
    tmp_path: Path, answer: bytes, status: int, body: bytes
) -> None:
    async with listening(tmp_path / "s", saying(answer)) as socket:
        response = await request(socket, "GET", "/x", timeout=5)
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n9\r\nlo w",
        b"HTTP/1.1 200 OK\r\n\r\nhello w",
    ],
)
async def test_no_more_is_read_than_was_asked_for(tmp_path: Path, start: bytes) -> None:
    async def unfinished(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        await reader.read()  # until the client closes

    async with listening(tmp_path / "s", unfinished) as socket:
        response = await request(socket, "GET", "/x", most=5, timeout=60)
    assert response.body == b"hello"


@pytest.mark.parametrize(
    "form", ["Content-Length: {}\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", "\r\n"]
)
async def test_a_body_above_the_limit_is_broken_off(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claraedge.runner.service.http._BODY_LIMIT", 1000)

    def answer(size: int) -> bytes:
        end = "\r\n0\r\n\r\n" if "chunked" in form else ""
        return f"HTTP/1.1 200 OK\r\n{form.format(size)}{'x' * size}{end}".encode()

    async with listening(tmp_path / "s", saying(answer(1000))) as socket:
        assert len((await request(socket, "GET", "/x", timeout=60)).body) == 1000
    async with listening(tmp_path / "t", saying(answer(1001))) as socket:
        with pytest.raises(BrokenOffError, match=r"^Podman's answer is too large: 1001 bytes$"):
            await request(socket, "GET", "/x", timeout=60)


async def test_query_and_json_body_are_sent(tmp_path: Path) -> None:
    heard: list[bytes] = []
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with listening(tmp_path / "s", saying(answer, heard)) as socket:
        await request(socket, "POST", "/x", query={"a": "b c&d"}, body={"k": 1}, timeout=5)
    assert heard[0].startswith(b"POST /x?a=b+c%26d HTTP/1.1\r\n")
    assert b"Content-Length: 7\r\n" in heard[0]


async def test_the_reason_of_a_refusal_is_podmans_message(tmp_path: Path) -> None:
    text = b'{"cause":"image not known","message":"a: image not known","response":500}'
    answer = b"HTTP/1.1 500 x\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
    async with listening(tmp_path / "s", saying(answer)) as socket:
        response = await request(socket, "GET", "/x", timeout=5)
    assert not response.ok
    assert (response.reason, response.cause) == ("a: image not known", "image not known")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"SSH-2.0 hello there\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_cut_or_senseless_is_broken_off(
    tmp_path: Path, answer: bytes
) -> None:
    async with listening(tmp_path / "s", saying(answer)) as socket:
        with pytest.raises(BrokenOffError):
            await request(socket, "GET", "/x", timeout=5)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_an_answer_that_is_cut_says_so(tmp_path: Path, answer: bytes) -> None:
    async with listening(tmp_path / "s", saying(answer)) as socket:
        with pytest.raises(BrokenOffError, match="service broke off in GET /x; it is started"):
            await request(socket, "GET", "/x", timeout=60)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0 hello there", "illegal status line: ('SSH-2.0 hello there')"),
        (b"HTTP/1.1 20 OK", "illegal status line: ('HTTP/1.1 20 OK')"),
        (b"", "no response line received"),
        (b"HTTP/1.1 099 X", "not 99"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp", "UPGRADE event without"),
        (b"HTTP/1.1 200 OK\r\nA b: c", "illegal header line: ('A b: c')"),
        (b"HTTP/1.1 200 OK\r\nA : c", "illegal header line: ('A : c')"),
        (b"HTTP/1.1 200 OK\r\nno colon", "illegal header line: ('no colon')"),
        (b"HTTP/1.1 200 OK\r\nA: \0", r"illegal header line: ('A: \x00')"),
        (b"HTTP/1.1 200 OK\r\n folded: at the start", "continuation line at start of headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5", "bad Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length:", "bad Content-Length"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "conflicting Content-Length headers",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", "Only Transfer-Encoding: chunked"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "multiple Transfer-Encoding headers",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
            r"illegal chunk header: ('zz\r\n')",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello, world",
            "malformed chunk footer: (', ')",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 65_536,
            "Receive buffer too long",
        ),
    ],
)
async def test_an_answer_that_is_not_http_is_broken_off_with_the_reason(
    tmp_path: Path, answer: bytes, said: str
) -> None:
    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer + b"\r\n\r\n")
        await writer.drain()

    async with listening(tmp_path / "s", whole) as socket:
        with pytest.raises(BrokenOffError) as error:
            await request(socket, "GET", "/x", timeout=60)
    text = str(error.value)
    assert text.startswith("not an HTTP answer: ")
    assert said in text
    assert len(text) <= 300
    assert "bytearray" not in text


async def test_silence_ends_at_the_time_out(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(tmp_path / "s", silent) as socket:
        with pytest.raises(BrokenOffError, match=r"within 0\.05 s"):
            await request(socket, "GET", "/x", timeout=0.05)


async def test_no_socket_and_a_dead_socket_are_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        await request(tmp_path / "none", "GET", "/x", timeout=5)
    async with listening(tmp_path / "s", saying(b"")):
        pass
    with pytest.raises(UnreachableError):
        await request(tmp_path / "s", "GET", "/x", timeout=5)


async def test_a_file_is_streamed_and_a_missing_one_is_an_os_error(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(bytes(range(256)) * 20_000)
    received = bytearray()

    async def taking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        received.extend(await reader.readexactly(archive.stat().st_size))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with listening(tmp_path / "s", taking) as socket:
        assert (await request(socket, "POST", "/load", upload=archive, timeout=10)).ok
    assert bytes(received) == archive.read_bytes()
    with pytest.raises(FileNotFoundError):
        async with listening(tmp_path / "t", taking) as socket:
            await request(socket, "POST", "/load", upload=tmp_path / "none", timeout=10)


async def test_a_refusal_before_the_end_of_an_upload_is_read(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(bytes(20_000_000))

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 507 no\r\nContent-Length: 4\r\n\r\nfull")
        await writer.drain()

    async with listening(tmp_path / "s", refusing) as socket:
        response = await request(socket, "POST", "/load", upload=archive, timeout=10)
    assert (response.status, response.reason) == (507, "full")
