"""Requests of web pages, and of browsers on other sites; sockets; clients that are slow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import h11
import pytest

from claraedge.config import HttpSettings
from claraedge.web import server
from tests.rig.waiting import eventually
from tests.unit.web.conftest import Client, Daemon, daemon_in

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
    monkeypatch.setattr(server, "_HEADERS", 0.2)
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        for sent in (b"", b"POST /x HTTP/1.1\r\nHost:"):
            async with http.connected() as connection, asyncio.timeout(20):
                connection.writer.write(sent)
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await connection.reader.readexactly(1)
        assert (await http.post(VERSION)).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x00\xff\n\n", id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", id="two hosts"),
        pytest.param(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", id="long"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(
            b"POST " + VERSION.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            id="a chunk without a size",
        ),
    ],
)
async def test_what_is_no_http_is_refused_and_others_are_served(http: Client, sent: bytes) -> None:
    async with http.connected() as connection, asyncio.timeout(20):
        connection.writer.write(sent)
        try:
            answer = await connection.reader.read(4096)
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:100]
    assert (await http.post(VERSION)).status == 200


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
        assert b"" in [await connection.reader.read() for _ in range(2)]
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
