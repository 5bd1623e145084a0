"""HTTP on TCP: the token, cookies of browsers, names of the device, TLS."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h11
import pytest

from claraedge.access import token as tokens
from claraedge.config import ApiSettings, HttpSettings, TlsSettings
from claraedge.errors import AlreadyRunningError, ConfigurationError
from claraedge.web.http import listener, protocol
from claraedge.web.rpc import exchange
from tests.rig.certificates import Authority, Pair, free_port, install
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.web.conftest import Answer, Client, Connection, Daemon, daemon_in
from tests.unit.web.test_guard import downloads, filled, with_file

VERSION = "/nvidia.clara.platform.Clara/Version"
PIPELINE = chain("copy")


class TcpClient(Client):
    """Requests to a port of 127.0.0.1, each on a connection of its own."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port, self.tls = port, tls

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls, server_hostname="localhost" if self.tls else None
        )
        try:
            yield Connection(reader, writer)
        finally:
            writer.transport.abort()


@dataclass
class Site:
    daemon: Daemon
    http: TcpClient
    pair: Pair | None = None
    authority: Authority | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str:
        return tokens.path_in(self.daemon.config.state_dir).read_text().strip()

    async def status(self, **headers: str) -> int:
        answer = await self.http.post(VERSION, **headers)
        if answer.status >= 400:
            assert answer.json["message"]
        return answer.status


@asynccontextmanager
async def site_in(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    authority: Authority | None = None,
    clients: Path | None = None,
    hosts: tuple[str, ...] = (),
    port: int | None = None,
    **more: Any,
) -> AsyncIterator[Site]:
    """A daemon that listens on TCP; with an authority, by TLS."""
    port = port or free_port()
    http = HttpSettings(listen=(f"{host}:{port}",), hosts=hosts)
    sections: dict[str, Any] = {"http": http, **more}
    pair = None
    if authority is not None:
        pair = Pair(folder / "device.pem", folder / "device.key")
        install(authority.issue(), pair)
        sections["tls"] = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=clients)
    async with daemon_in(folder, **sections) as daemon:
        tls = None if authority is None else authority.trusted()
        yield Site(daemon, TcpClient(port, tls), pair, authority)


@pytest.fixture
async def site(folder: Path) -> AsyncIterator[Site]:
    async with site_in(folder) as site:
        yield site


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture
async def encrypted(folder: Path, authority: Authority) -> AsyncIterator[Site]:
    async with site_in(folder, host="0.0.0.0", authority=authority) as site:
        yield site


# --- the token ------------------------------------------------------------------------------------


async def test_loopback_needs_the_token_and_the_socket_does_not(site: Site) -> None:
    assert await site.status() == 401
    assert await site.status(Authorization="Bearer wrong") == 401
    assert await site.status(Authorization=f"Basic {site.token}") == 401
    assert await site.status(Authorization=f"Bearer {site.token}") == 200
    assert (await Client(site.daemon.config.http_socket).post(VERSION)).status == 200


async def test_a_refused_caller_reads_what_to_do(site: Site) -> None:
    answer = await site.http.post(VERSION)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["claraedge-error"] == "unauthenticated"
    assert answer.json["code"] == "unauthenticated"
    assert "`claraedge token`" in answer.json["message"]


async def test_a_new_token_applies_at_once(site: Site) -> None:
    old = site.token
    cookie = await signed_in(site)
    new = tokens.renew(tokens.path_in(site.daemon.config.state_dir))
    assert await site.status(Authorization=f"Bearer {old}") == 401
    assert await site.status(Cookie=cookie) == 401
    assert await site.status(Authorization=f"Bearer {new}") == 200


async def test_others_learn_nothing_of_the_paths(site: Site) -> None:
    assert (await site.http.ask("GET", "/no/such/path")).status == 401
    assert (await site.http.ask("GET", VERSION)).status == 401
    known = {"Authorization": f"Bearer {site.token}"}
    assert (await site.http.ask("GET", "/no/such/path", **known)).status == 404
    assert (await site.http.ask("GET", VERSION, **known)).status == 405


async def test_a_refused_upload_is_answered(site: Site) -> None:
    async with site.http.connected() as connection, asyncio.timeout(60):
        await connection.ask(
            "POST", "/nvidia.clara.platform.Payloads/Upload", Content_Type="application/x-ndjson"
        )
        for _ in range(50):
            await connection.send(h11.Data(data=bytes(100_000)))
        assert (await connection.event()).status_code == 401


# --- browsers -------------------------------------------------------------------------------------


async def sign_in(site: Site, token: str, **headers: str) -> Answer:
    return await site.http.post("/login", {"token": token}, **headers)


async def signed_in(site: Site) -> str:
    answer = await sign_in(site, site.token)
    assert answer.status == 200
    return answer.headers["set-cookie"].partition(";")[0]


async def test_a_browser_gets_a_cookie_for_the_token(site: Site) -> None:
    answer = await sign_in(site, site.token)
    name, *flags = answer.headers["set-cookie"].split("; ")
    assert sorted(flags) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert site.token not in name
    assert await site.status(Cookie=name) == 200
    assert await site.status(Cookie=f"other=1; {name}; more=2") == 200
    assert await site.status(Cookie="claraedge=wrong") == 401
    assert await site.status(Cookie="claraedge=") == 401
    assert await site.status(Cookie=name, Authorization="Bearer wrong") == 401


async def test_the_login_page_runs_only_its_own_script(site: Site) -> None:
    page = await site.http.ask("GET", "/login")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    for inline in (b"<style", b" style=", b" on", b"<script>"):
        assert inline not in page.body
    for path in (b"/login.js", b"/login.css"):
        assert path in page.body
        assert (await site.http.ask("GET", path.decode())).status == 200


async def test_a_wrong_token_gives_no_cookie(site: Site) -> None:
    for token in ("", "wrong", site.token + "x"):
        answer = await sign_in(site, token)
        assert answer.status == 401
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token": 3}', b"\xff", b"[" * 1000, b'"token"']
)
async def test_a_wrong_form_of_signing_in_is_refused(site: Site, body: bytes) -> None:
    assert (await site.http.post("/login", body)).status == 400


async def test_signing_in_reads_little(site: Site) -> None:
    assert (await site.http.post("/login", b" " * 5000)).status == 413
    kind = {"Content_Type": "text/plain"}
    assert (await site.http.ask("POST", "/login", b"token=x", **kind)).status == 415


FORM = {"Content_Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("", "/"),
        ("?next=%2Fui%2Fjobs%2Fabc", "/ui/jobs/abc"),
        ("?next=%2F%2Fevil.example", "/"),
        ("?next=https%3A%2F%2Fevil.example", "/"),
        ("?next=%2F%5Cevil.example", "/"),
        ("?next=%2F%0D%0ASet-Cookie%3A%20x", "/"),
        ("?next=%2F%C3%A9", "/"),
    ],
)
async def test_a_form_without_a_script_signs_in_and_goes_where_its_viewer_wanted(
    site: Site, asked: str, shown: str
) -> None:
    answer = await site.http.ask("POST", f"/login{asked}", f"token={site.token}".encode(), **FORM)
    assert (answer.status, answer.headers["location"]) == (303, shown)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert await site.status(Cookie=cookie) == 200
    out = await site.http.ask("POST", "/logout", b"", Cookie=cookie, **FORM)
    assert (out.status, out.headers["location"]) == (303, "/login")
    assert await site.status(Cookie=cookie) == 401


async def test_a_form_with_a_wrong_token_gets_a_page_that_says_so(site: Site) -> None:
    answer = await site.http.ask("POST", "/login", b"token=wrong", **FORM)
    assert answer.status == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert b"claraedge token" in answer.body
    assert "set-cookie" not in answer.headers


async def test_pages_lead_who_is_not_signed_in_to_the_login(site: Site) -> None:
    for path in ("/", "/ui/jobs/abc", "/ui/nothing", "/ui/find?q=a%20b&page=x"):
        answer = await site.http.ask("GET", path)
        assert answer.status == 303
        assert answer.headers["location"] == f"/login?next={quote(path, safe='')}"
    answer = await site.http.ask("GET", "/", Cookie=await signed_in(site))
    assert answer.status == 200
    assert b"<h1>" in answer.body


async def test_a_page_of_another_site_signs_nobody_in_or_out(site: Site) -> None:
    cookie = await signed_in(site)
    foreign = {"Origin": "http://evil.example"}
    assert (await sign_in(site, site.token, **foreign)).status == 403
    assert (await site.http.post("/logout", Cookie=cookie, **foreign)).status == 403
    assert await site.status(Cookie=cookie, Sec_Fetch_Site="same-site") == 403
    assert await site.status(Cookie=cookie, Sec_Fetch_Site="same-origin") == 200


async def test_signing_out_ends_the_cookie(site: Site) -> None:
    cookie, other = await signed_in(site), await signed_in(site)
    answer = await site.http.post("/logout", Cookie=cookie)
    assert answer.status == 200
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert await site.status(Cookie=cookie) == 401
    assert await site.status(Cookie=other) == 200


@pytest.mark.parametrize("way", ["quiet", "busy"])
async def test_a_stream_ends_after_its_browser_signed_out(
    site: Site, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(exchange, "_LIFE", 0.1)
    cookie = await signed_in(site)
    async with site.http.connected() as stream, asyncio.timeout(60):
        await stream.ask("GET", "/v1/events", b"", Cookie=cookie, Accept="text/event-stream")
        assert (await stream.event()).status_code == 200
        await site.http.post("/logout", Cookie=cookie)
        read = b""
        while b"event: failure" not in read:
            if way == "busy":
                await site.daemon.register(PIPELINE)
            event = await stream.event()
            assert isinstance(event, h11.Data), read
            read += event.data
    assert b'"code":"unauthenticated"' in read


async def test_a_browser_stays_signed_in_when_the_daemon_is_started_again(folder: Path) -> None:
    async with site_in(folder) as site:
        cookie, out, token = await signed_in(site), await signed_in(site), site.token
        await site.http.post("/logout", Cookie=out)
        sessions = site.daemon.config.state_dir / "sessions"
        assert sessions.stat().st_mode & 0o777 == 0o600
        assert cookie.partition("=")[2] not in sessions.read_text()
    async with site_in(folder) as site:
        assert await site.status(Cookie=cookie) == 200
        assert await site.status(Cookie=out) == 401
        tokens.renew(tokens.path_in(site.daemon.config.state_dir))
        assert await site.status(Cookie=cookie) == 401
        assert await site.status(Authorization=f"Bearer {token}") == 401
    async with site_in(folder) as site:
        assert await site.status(Cookie=cookie) == 401


async def test_a_browser_signs_in_again_after_thirty_days(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie, now = await signed_in(site), time.time()
    monkeypatch.setattr("claraedge.access.sessions.time.time", lambda: now + 29 * 86400)
    assert await site.status(Cookie=cookie) == 200
    monkeypatch.setattr("claraedge.access.sessions.time.time", lambda: now + 31 * 86400)
    assert await site.status(Cookie=cookie) == 401


async def test_what_is_damaged_of_the_sessions_signs_nobody_in(folder: Path) -> None:
    async with site_in(folder) as site:
        cookie = await signed_in(site)
        sessions = site.daemon.config.state_dir / "sessions"
        whole = sessions.read_bytes()
    for content in (b"", whole[:100], b"\xff" * 1000, whole + b"x"):
        sessions.write_bytes(content)
        async with site_in(folder) as site:
            expected = 200 if content.startswith(whole) else 401
            assert await site.status(Cookie=cookie) == expected


async def test_without_tcp_there_is_no_token_and_no_login(daemon: Daemon, http: Client) -> None:
    assert (await http.ask("GET", "/login")).status == 404
    assert not tokens.path_in(daemon.config.state_dir).exists()


# --- names and origins ----------------------------------------------------------------------------


async def called(site: Site, host: str, **headers: str) -> int:
    async with site.http.connected() as connection:
        lines = [("Host", host), ("Content-Type", "application/json"), ("Content-Length", "2")]
        lines += [("Authorization", f"Bearer {site.token}"), *headers.items()]
        request = h11.Request(method="POST", target=VERSION, headers=lines)
        await connection.send(request, h11.Data(data=b"{}"), h11.EndOfMessage())
        return (await connection.answer()).status


async def test_names_of_the_settings_are_served_and_no_others(folder: Path) -> None:
    hosts = ("Device.example", "192.0.2.7", "2001:db8::7")
    async with site_in(folder, hosts=hosts) as site:
        for host in ("device.EXAMPLE:8443", "192.0.2.7", "[2001:DB8:0::7]:1", "localhost:30032"):
            assert await called(site, host) == 200, host
        for host in ("evil.example", "192.0.2.8", "device.example.evil.example", ""):
            assert await called(site, host) == 421, host


async def test_a_foreign_name_is_refused_before_the_token(site: Site) -> None:
    answer = await site.http.post(VERSION, Host="evil.example")
    assert answer.status == 421
    assert "[http] hosts" in answer.json["message"]
    assert (await site.http.ask("GET", "/login", Host="evil.example")).status == 421


async def test_the_address_that_was_called_is_a_name_of_the_device(folder: Path) -> None:
    """Loopback always is, so another one is needed, and such are not on every machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the kernel chooses our address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    authority = Authority(folder / "authority")
    async with site_in(folder, host="0.0.0.0", authority=authority) as site:
        context = authority.trusted()

        @asynccontextmanager
        async def connected() -> AsyncIterator[Connection]:
            reader, writer = await asyncio.open_connection(
                address, site.http.port, ssl=context, server_hostname="localhost"
            )
            yield Connection(reader, writer)
            writer.transport.abort()

        site.http.connected = connected  # type: ignore[method-assign]
        assert await called(site, f"{address}:{site.http.port}") == 200
        assert await called(site, "192.0.2.99") == 421


@pytest.mark.parametrize(("scheme", "other"), [("http", "https"), ("https", "http")])
async def test_scheme_and_port_of_the_origin_count(
    folder: Path, authority: Authority, scheme: str, other: str
) -> None:
    async with site_in(folder, authority=authority if scheme == "https" else None) as site:
        host = f"localhost:{site.http.port}"
        assert await called(site, host, Origin=f"{scheme}://{host}") == 200
        assert await called(site, host, Origin=f"{scheme}://localhost:1") == 403
        assert await called(site, host, Origin=f"{scheme}://localhost") == 403
        assert await called(site, host, Origin=f"{other}://{host}") == 403


# --- TLS ------------------------------------------------------------------------------------------


async def test_with_tls_the_token_is_needed_and_the_cookie_is_for_tls_alone(
    encrypted: Site,
) -> None:
    assert await encrypted.status() == 401
    assert await encrypted.status(Authorization=f"Bearer {encrypted.token}") == 200
    answer = await sign_in(encrypted, encrypted.token)
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    assert "Secure" in flags
    assert cookie.startswith("__Host-")
    assert await encrypted.status(Cookie=cookie) == 200


async def test_a_client_that_speaks_no_tls_is_disconnected(
    encrypted: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plain = TcpClient(encrypted.http.port)
    async with asyncio.timeout(10):
        for junk in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" * 99):
            async with plain.connected() as connection:
                connection.writer.write(junk)
                answer = b""
                with suppress(ConnectionError):
                    answer = await connection.reader.read()
                assert b"HTTP" not in answer
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert await encrypted.status(Authorization=f"Bearer {encrypted.token}") == 200


async def test_a_client_that_does_not_trust_the_device_leaves_nothing(
    encrypted: Site, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = TcpClient(encrypted.http.port, ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        async with stranger.connected():
            pass
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_certificate_replaces_the_token(
    folder: Path, authority: Authority, tmp_path: Path
) -> None:
    clients, others = Authority(tmp_path / "clients"), Authority(tmp_path / "others")
    async with site_in(folder, authority=authority, clients=clients.certificate) as site:
        assert not tokens.path_in(site.daemon.config.state_dir).exists()
        site.http.tls = authority.trusted(clients.issue("client"))
        assert await site.status() == 200
        for client in (None, others.issue("client"), authority.issue("client")):
            site.http.tls = authority.trusted(client)
            with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_REQUIRED|UNKNOWN_CA"):
                await site.status()


async def test_a_renewed_certificate_is_served_and_open_streams_continue(
    encrypted: Site, authority: Authority
) -> None:
    def served() -> bytes:
        return ssl.PEM_cert_to_DER_cert(
            ssl.get_server_certificate(("127.0.0.1", encrypted.http.port), timeout=20)
        )

    assert encrypted.pair is not None
    token = {"Authorization": f"Bearer {encrypted.token}"}
    first = encrypted.pair.server
    assert await asyncio.to_thread(served) == first
    async with encrypted.http.connected() as stream, asyncio.timeout(60):
        await stream.ask(
            "POST", "/claraedge.v1.Events/Watch", b'{"follow":{"allJobs":true}}\n',
            Content_Type="application/x-ndjson", **token,
        )  # fmt: skip
        assert (await stream.event()).status_code == 200
        install(authority.issue(), encrypted.pair)
        assert encrypted.pair.server != first
        assert await asyncio.to_thread(served) == encrypted.pair.server
        encrypted.pair.certificate.write_text("half of a")
        assert await asyncio.to_thread(served) != first, "a broken one is not used"
        assert await encrypted.status(**token) == 200
        pipeline = await encrypted.daemon.register(PIPELINE)
        job = (await encrypted.daemon.create(pipeline)).job_id.value
        lines = b""
        while job.encode() not in lines:
            event = await stream.event()
            assert isinstance(event, h11.Data), "the stream of before has ended"
            lines += event.data


async def test_a_renewed_authority_of_clients_applies_to_new_connections(
    folder: Path, authority: Authority, tmp_path: Path
) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    clients = folder / "clients.pem"
    clients.write_bytes(old.certificate.read_bytes())
    async with site_in(folder, authority=authority, clients=clients) as site:
        of_old, of_new = (authority.trusted(each.issue("client")) for each in (old, new))
        site.http.tls = of_old
        assert await site.status() == 200
        clients.write_bytes(new.certificate.read_bytes())
        with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
            await site.status()
        site.http.tls = of_new
        assert await site.status() == 200


async def test_slow_handshakes_end_and_delay_neither_others_nor_a_stop(
    folder: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEADERS", 1.0)
    async with site_in(folder, authority=authority) as site:
        plain = TcpClient(site.http.port)
        async with plain.connected() as connection, asyncio.timeout(20):
            connection.writer.write(b"\x16\x03\x01")
            with_token = {"Authorization": f"Bearer {site.token}"}
            assert await site.status(**with_token) == 200
            assert not connection.reader.at_eof()
            with suppress(ConnectionError):
                assert await connection.reader.read() == b""
        monkeypatch.setattr(listener, "HEADERS", 1000.0)
        context = plain.connected()
        connection = await context.__aenter__()
        connection.writer.write(b"\x16\x03\x01")
        assert await site.status(**with_token) == 200  # accepted after the other one
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 15
    async with asyncio.timeout(20):
        with suppress(ConnectionError):
            assert await connection.reader.read() == b"", "the stop ended it"
    await context.__aexit__(None, None, None)


async def test_connections_have_a_limit_and_those_of_the_socket_are_not_counted(
    folder: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS", 3)
    monkeypatch.setattr(protocol, "CONNECTIONS", 3)
    async with site_in(folder, authority=authority) as site:
        token = {"Authorization": f"Bearer {site.token}"}
        plain = TcpClient(site.http.port)
        contexts = [plain.connected() for _ in range(3)]
        for context in contexts:
            await context.__aenter__()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with asyncio.timeout(20):
                await site.status(**token)
        assert (await Client(site.daemon.config.http_socket).post(VERSION)).status == 200
        for context in contexts:
            await context.__aexit__(None, None, None)

        async def served() -> bool:
            try:
                return await site.status(**token) == 200
            except (ssl.SSLError, ConnectionError):
                return False

        await eventually(served, "the others are gone, and a connection is served")


async def test_a_client_of_tls_that_is_refused_while_it_sends_sees_why(encrypted: Site) -> None:
    async with encrypted.http.connected() as connection, asyncio.timeout(60):
        head = (
            f"POST {VERSION} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Length: 30000000\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {encrypted.token}\r\n\r\n"
        )
        connection.writer.write(head.encode())
        for _ in range(200):
            connection.writer.write(bytes(100_000))
            await connection.writer.drain()
        assert (await connection.reader.read(65536)).startswith(b"HTTP/1.1 413 ")


async def test_a_client_of_tls_that_leaves_ends_its_stream(encrypted: Site) -> None:
    async with encrypted.http.connected() as connection:
        await connection.ask(
            "POST", "/claraedge.v1.Events/Watch", b'{"follow":{"allJobs":true}}\n',
            Content_Type="application/x-ndjson", Authorization=f"Bearer {encrypted.token}",
        )  # fmt: skip
        assert (await connection.event()).status_code == 200
        assert downloads()
    await eventually(lambda: not downloads(), "the request has ended")


async def test_a_client_of_tls_that_reads_nothing_is_disconnected(
    folder: Path, authority: Authority
) -> None:
    async with site_in(folder, authority=authority, api=ApiSettings(idle_seconds=1.0)) as site:
        payload = await with_file(site.daemon)
        async with site.http.connected() as connection:
            await filled(connection, payload, Authorization=f"Bearer {site.token}")
            await eventually(lambda: bool(downloads()), "the download has begun")
            await eventually(lambda: not downloads(), "the download has ended")


async def test_a_client_of_tls_that_reads_nothing_does_not_delay_a_stop(
    folder: Path, authority: Authority
) -> None:
    async with site_in(folder, authority=authority) as site:
        payload = await with_file(site.daemon)
        context = site.http.connected()
        connection = await context.__aenter__()
        await filled(connection, payload, Authorization=f"Bearer {site.token}")
        await eventually(lambda: bool(downloads()), "the download has begun")
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 15
    await context.__aexit__(None, None, None)


async def test_a_client_of_tls_that_sends_no_more_is_disconnected(encrypted: Site) -> None:
    """It ends its direction alone, as `socat` does; that ends its call, as without TLS."""

    def converse() -> bytes:
        with socket.create_connection(("127.0.0.1", encrypted.http.port), timeout=20) as plain:
            assert encrypted.authority is not None
            tls = encrypted.authority.trusted().wrap_socket(plain, server_hostname="localhost")
            body = b'{"follow":{"allJobs":true}}\n'
            tls.sendall(
                b"POST /claraedge.v1.Events/Watch HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/x-ndjson\r\nContent-Length: %d\r\n"
                b"Authorization: Bearer %s\r\n\r\n" % (len(body), encrypted.token.encode()) + body
            )
            answer = tls.recv(65536)
            with suppress(OSError):  # data that was on its way
                tls.unwrap()
            return answer

    assert (await asyncio.to_thread(converse)).startswith(b"HTTP/1.1 200 ")
    await eventually(lambda: not downloads(), "the request has ended")


# --- addresses ------------------------------------------------------------------------------------


async def test_a_port_that_is_in_use_is_reported(folder: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        with pytest.raises(AlreadyRunningError, match=rf"{address} .*ss -ltnp.*http\.listen"):
            async with daemon_in(folder, http=HttpSettings(listen=(address,))):
                pass
    async with daemon_in(folder, http=HttpSettings(listen=(address,))) as daemon:
        assert (await Client(daemon.config.http_socket).post(VERSION)).status == 200


async def test_an_address_that_comes_later_does_not_keep_the_daemon_from_starting(
    folder: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with site_in(folder, host="192.0.2.1", authority=authority) as site:
        assert (await Client(site.daemon.config.http_socket).post(VERSION)).status == 200
    assert [record.address for record in caplog.records if "does not have" in record.message]  # type: ignore[attr-defined]


async def test_ipv6_is_served(folder: Path) -> None:
    port = free_port()
    listen = (f"127.0.0.1:{port}", f"[::1]:{port}")
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with daemon_in(folder, http=HttpSettings(listen=listen)) as daemon:
        token = tokens.path_in(daemon.config.state_dir).read_text().strip()
        reader, writer = await asyncio.open_connection("::1", port)
        connection = Connection(reader, writer)
        await connection.ask(
            "POST", VERSION, b"{}", Host=f"[::1]:{port}", Content_Type="application/json",
            Authorization=f"Bearer {token}",
        )  # fmt: skip
        answer = await connection.answer()
        writer.close()
    assert answer.status == 200, json.loads(answer.body)


async def test_a_certificate_that_cannot_be_used_ends_the_start(
    folder: Path, authority: Authority
) -> None:
    pair = authority.issue()
    for tls in (
        TlsSettings(certificate=pair.certificate, key=folder / "missing.key"),
        TlsSettings(certificate=pair.certificate, key=authority.issue().key),
    ):
        with pytest.raises(ConfigurationError, match="tls"):
            async with daemon_in(
                folder, http=HttpSettings(listen=(f"0.0.0.0:{free_port()}",)), tls=tls
            ):
                pass
