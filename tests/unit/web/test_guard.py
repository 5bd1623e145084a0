"""Requests of web pages, and of browsers on other sites; sockets; clients that are slow."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import h11
import pytest

from claraedge.config import ApiSettings, HttpSettings
from claraedge.web.http import protocol
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually
from tests.unit.web.conftest import Client, Connection, Daemon, daemon_in

VERSION = "/nvidia.clara.platform.Clara/Version"


async def asked(http: Client, host: str, method: str = "POST", **headers: str) -> int:
    async with http.connected() as connection:
        lines = [("Host", host), ("Content-Type", "application/json"), ("Content-Length", "2")]
        lines += [(name.replace("_", "-"), value) for name, value in headers.items()]
        request = h11.Request(method=method, target=VERSION, headers=lines)
        await connection.send(request, h11.Data(data=b"{}"), h11.EndOfMessage())
        answer = await connection.answer()
    if answer.status >= 400:
        assert answer.json["message"]
    return answer.status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1:30032", 200),
        ("127.9.9.9", 200),
        ("[::1]:30032", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.168.1.2", 421),
        ("0.0.0.0", 421),
        ("[::]", 421),
        ("", 421),
        ("localhost@evil.example", 421),
    ],
)
async def test_only_names_of_this_device_are_served(http: Client, host: str, status: int) -> None:
    assert await asked(http, host) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": ""}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "https://localhost"}, 403),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost"}, 403),
    ],
)
async def test_pages_of_other_sites_change_nothing(
    http: Client, headers: dict[str, str], status: int
) -> None:
    assert await asked(http, "localhost", **headers) == status


async def test_no_page_of_another_site_may_read_an_answer(http: Client) -> None:
    answer = await http.post(VERSION)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "date" in answer.headers


async def test_the_socket_is_for_its_group_and_goes_with_the_daemon(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        path = daemon.config.http_socket
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()


async def test_it_can_be_switched_off(folder: Path) -> None:
    async with daemon_in(folder, http=HttpSettings(enabled=False)) as daemon:
        assert not daemon.config.http_socket.exists()


async def test_a_client_without_headers_is_disconnected(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS", 1.0)
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        for sent in (b"", b"POST /x HTTP/1.1\r\nHost:"):
            async with http.connected() as connection, asyncio.timeout(20):
                connection.writer.write(sent)
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await connection.reader.readexactly(1)
        assert (await http.post(VERSION)).status == 200


HEAD = b"POST " + VERSION.encode() + b" HTTP/1.1\r\n"
JSON = b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x00\xff\n\n", id="no HTTP"),
        pytest.param(HEAD + JSON + b"Content-Length: 2\r\n\r\n{}", id="no Host"),
        pytest.param(
            HEAD + b"Host: localhost\r\nHost: evil\r\n" + JSON + b"Content-Length: 2\r\n\r\n{}",
            id="two hosts",
        ),
        pytest.param(HEAD + b"Host: localhost\r\nA: " + b"a" * 70_000, id="long headers"),
        pytest.param(
            HEAD + b"Host: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n"
            + JSON + b"\r\n2\r\n{}\r\n0\r\n\r\n",
            id="two lengths",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_http_is_refused_and_others_are_served(http: Client, sent: bytes) -> None:
    async with http.connected() as connection, asyncio.timeout(20):
        connection.writer.write(sent)
        answer = await connection.reader.read(4096)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]
    assert b"claraedge-error: invalid-request" in answer.lower()
    assert (await http.post(VERSION)).status == 200


async def test_a_wrong_chunk_ends_its_connection_alone(http: Client) -> None:
    async with http.connected() as connection, asyncio.timeout(20):
        connection.writer.write(
            HEAD + b"Host: localhost\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        await ended(connection)
    assert (await http.post(VERSION)).status == 200


async def ended(connection: Connection) -> bytes:
    """What a connection still sends before the daemon ends it."""
    try:
        return bytes(await connection.reader.read())
    except ConnectionResetError:
        return b""


async def test_a_second_request_before_the_answer_ends_the_connection(http: Client) -> None:
    watch = b"POST /claraedge.v1.Events/Watch HTTP/1.1\r\nHost: localhost\r\n"
    body = b'{"follow":{}}\n'
    async with http.connected() as connection, asyncio.timeout(20):
        connection.writer.write(
            watch + b"Content-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body + HEAD + b"Host: localhost\r\n\r\n"
        )  # fmt: skip
        await ended(connection)


async def test_a_refused_request_is_not_awaited_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS", 0.5)
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        async with http.connected() as connection, asyncio.timeout(20):
            connection.writer.write(
                b"POST /no HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
            )
            assert (await connection.reader.read(12)).endswith(b"404")
            connection.writer.write(b"a")
            await ended(connection)


async def test_too_many_connections_are_refused_with_a_reason(
    http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 2)
    async with (
        http.connected(),
        http.connected(),
        http.connected() as third,
        asyncio.timeout(20),
    ):
        answer = await ended(third)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"too-many-calls" in answer

    async def served() -> bool:
        return (await http.post(VERSION)).status == 200

    await eventually(served, "the others are gone, and a connection is served")


async def filled(connection: Connection, payload: str, **headers: str) -> None:
    """Asks for a file that is larger than all buffers on the way, and reads nothing of it."""
    connection.writer.transport.pause_reading()
    request = json.dumps({"payloadId": {"value": payload}, "name": "/input/large"}).encode()
    await connection.ask(
        "POST",
        "/nvidia.clara.platform.Payloads/Download",
        request,
        Content_Type="application/json",
        **headers,
    )


async def with_file(daemon: Daemon) -> str:
    made = await daemon.create(await daemon.register(chain("copy")))
    await daemon.upload(made.payload_id.value, *([("large", bytes(3 << 20))] * 6))
    return str(made.payload_id.value)


def downloads() -> list[object]:
    return [task for task in asyncio.all_tasks() if "run_asgi" in repr(task)]


async def test_a_client_that_reads_nothing_is_disconnected(folder: Path) -> None:
    async with daemon_in(folder, api=ApiSettings(idle_seconds=1.0)) as daemon:
        http = Client(daemon.config.http_socket)
        payload = await with_file(daemon)
        async with http.connected() as connection:
            await filled(connection, payload)

            async def begun() -> bool:
                return bool(downloads())

            async def gone() -> bool:
                return not downloads()

            await eventually(begun, "the download has begun")
            await eventually(gone, "the download has ended")
            connection.writer.transport.resume_reading()
            async with asyncio.timeout(20):
                answer = await ended(connection)
        assert not answer.endswith(b"0\r\n\r\n")  # no part passes for the whole


async def test_a_client_that_reads_nothing_does_not_delay_a_stop(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        payload = await with_file(daemon)
        context = http.connected()
        connection = await context.__aenter__()
        await filled(connection, payload)

        async def begun() -> bool:
            return bool(downloads())

        await eventually(begun, "the download has begun")
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 15
    await context.__aexit__(None, None, None)


async def test_an_answer_that_is_not_read_to_its_end_does_not_keep_its_connection(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_LINGER", 0.5)
    monkeypatch.setattr(protocol, "CONNECTIONS", 1)
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        made = await daemon.create(await daemon.register(chain("copy")))
        await daemon.upload(made.payload_id.value, ("large", bytes(150 << 10)))
        async with http.connected() as connection:
            await filled(connection, made.payload_id.value, Connection="close")

            async def served() -> bool:
                return (await http.post(VERSION)).status == 200

            await eventually(served, "the connection whose client reads nothing is gone")


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_a_client_that_is_refused_while_it_sends_sees_why(
    http: Client, connection: str
) -> None:
    async with http.connected() as client, asyncio.timeout(60):
        lines = b"Host: localhost\r\nConnection: %s\r\nContent-Length: 30000000\r\n"
        client.writer.write(HEAD + lines % connection.encode() + JSON + b"\r\n")
        for _ in range(300):
            client.writer.write(bytes(100_000))
            await client.writer.drain()
        answer = await client.reader.read(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"message-size" in answer


async def test_an_empty_line_after_a_body_is_ignored(http: Client) -> None:
    async with http.connected() as connection, asyncio.timeout(20):
        connection.writer.write(
            HEAD + b"Host: localhost\r\n" + JSON + b"Content-Length: 2\r\n\r\n{}\r\n"
        )
        assert (await connection.reader.read(12)).endswith(b"200")


async def test_what_is_sent_by_halves_delays_nobody(http: Client) -> None:
    """Many clients stop in the middle of a large message."""
    async with AsyncExitStack() as stack:
        for _ in range(40):
            connection = await stack.enter_async_context(http.connected())
            connection.writer.write(
                HEAD + b"Host: localhost\r\n" + JSON + b"Content-Length: 5000000\r\n\r\n"
                + b" " * 1_000_000
            )  # fmt: skip
        body = b"{" + b" " * 5000 + b"}"
        async with asyncio.timeout(20):
            assert (await http.post(VERSION, body)).status == 200


async def test_a_stop_ends_open_streams(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        context = http.connected()
        connection = await context.__aenter__()
        await connection.ask(
            "POST", "/claraedge.v1.Events/Watch", b'{"follow":{}}\n',
            Content_Type="application/x-ndjson",
        )  # fmt: skip
        assert (await connection.event()).status_code == 200
    async with asyncio.timeout(20):
        answer = await ended(connection)
    assert not answer.endswith(b"0\r\n\r\n")
    await context.__aexit__(None, None, None)


async def test_a_stream_ends_with_its_client(daemon: Daemon, http: Client) -> None:
    async def watches() -> int:
        return len([t for t in asyncio.all_tasks() if "Watch" in repr(t) or "events" in repr(t)])

    before = await watches()
    for _ in range(5):
        async with http.connected() as connection:
            await connection.ask(
                "POST", "/claraedge.v1.Events/Watch", b'{"follow":{"allJobs":true}}\n',
                Content_Type="application/x-ndjson",
            )  # fmt: skip
            assert (await connection.event()).status_code == 200

    async def gone() -> bool:
        return await watches() <= before

    await eventually(gone, "the watches have ended")


async def raw(http: Client, request: bytes) -> bytes:
    """The answer to a request as it is, up to the end of the connection."""
    reader, writer = await asyncio.open_unix_connection(http.path)
    writer.write(request)
    try:
        async with asyncio.timeout(DEADLINE):
            return await reader.read()
    finally:
        writer.close()


async def test_a_simple_probe_without_a_host_is_served(http: Client) -> None:
    answer = await raw(http, b"GET /health/live HTTP/1.0\r\n\r\n")
    assert answer.split(b"\r\n")[0].split(b" ")[1] == b"200"
    empty = await raw(http, b"GET /health/live HTTP/1.0\r\nHost:\r\n\r\n")
    assert empty.split(b"\r\n")[0].split(b" ")[1] == b"421"


async def test_headers_beyond_the_limit_are_refused(http: Client) -> None:
    answer = await http.ask("GET", "/v1/version", X_Large="x" * 33_000)
    assert (answer.status, "32768" in answer.json["message"]) == (431, True)
