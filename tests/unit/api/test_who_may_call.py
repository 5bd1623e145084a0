"""gRPC on TCP: TLS and the token beyond loopback, client certificates, renewal."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.access import token as tokens
from claraedge.access.certificates import Certificates
from claraedge.api.transport import server
from claraedge.api.transport.calls import CallLimits
from claraedge.api.transport.server import Server
from claraedge.client import connect
from claraedge.client.appliance import platform_version
from claraedge.config import ApiSettings, TlsSettings
from claraedge.errors import (
    AlreadyRunningError,
    ConfigurationError,
    InvalidRequestError,
    UnauthenticatedError,
    UnavailableError,
)
from claraedge.wire.claraedge.v1 import events_pb2, events_pb2_grpc
from claraedge.wire.nvidia.clara.platform import clara_pb2, clara_pb2_grpc
from tests.rig.certificates import Authority, Pair, free_port, install
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import Daemon, daemon_in

SECONDS = 20.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


class Site:
    def __init__(self, daemon: Daemon, pair: Pair, authority: Authority, port: int) -> None:
        self.daemon, self.pair, self.authority, self.port = daemon, pair, authority, port

    @property
    def token(self) -> str:
        return tokens.path_in(self.daemon.config.state_dir).read_text().strip()

    def channel(self, client: Pair | None = None, *, plain: bool = False) -> grpc.aio.Channel:
        target = f"localhost:{self.port}"
        options = [("grpc.use_local_subchannel_pool", 1)]
        if plain:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(
            target,
            grpc.ssl_channel_credentials(
                self.authority.certificate.read_bytes(),
                *(
                    (client.key.read_bytes(), client.certificate.read_bytes())
                    if client is not None
                    else ()
                ),
            ),
            options=options,
        )

    async def code(self, channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> grpc.StatusCode:
        """Calls Version; returns how that ended."""
        stub: Any = clara_pb2_grpc.ClaraStub(channel)
        try:
            await stub.Version(
                clara_pb2.ClaraVersionRequest(), timeout=SECONDS, metadata=metadata or None
            )
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@asynccontextmanager
async def site_in(
    folder: Path, authority: Authority, clients: Path | None = None
) -> AsyncIterator[Site]:
    """A daemon that other machines reach."""
    port = free_port()
    pair = Pair(folder / "device.pem", folder / "device.key")
    install(authority.issue(), pair)
    tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=clients)
    api = ApiSettings(listen=(f"0.0.0.0:{port}",))
    async with daemon_in(folder, api=api, tls=tls) as daemon:
        yield Site(daemon, pair, authority, port)


@pytest.fixture
async def site(folder: Path, authority: Authority) -> AsyncIterator[Site]:
    async with site_in(folder, authority) as site:
        yield site


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


async def test_beyond_loopback_each_call_needs_the_token(site: Site) -> None:
    async with site.channel() as channel:
        assert await site.code(channel) is grpc.StatusCode.UNAUTHENTICATED
        assert await site.code(channel, bearer("wrong")) is grpc.StatusCode.UNAUTHENTICATED
        assert await site.code(channel, bearer(site.token)) is grpc.StatusCode.OK
        twice = (bearer("wrong"), bearer(site.token))
        assert await site.code(channel, *twice) is grpc.StatusCode.UNAUTHENTICATED
        old = site.token
        tokens.renew(tokens.path_in(site.daemon.config.state_dir))
        assert await site.code(channel, bearer(old)) is grpc.StatusCode.UNAUTHENTICATED
        assert await site.code(channel, bearer(site.token)) is grpc.StatusCode.OK


async def test_no_method_is_open_without_the_token(site: Site) -> None:
    """Also streams, health and reflection; the services are those that reflection lists."""
    async with site.channel() as channel:
        for path in (
            "/claraedge.v1.Events/Watch",
            "/nvidia.clara.platform.Payloads/Upload",
            "/nvidia.clara.platform.Payloads/Download",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            call: Any = channel.stream_stream(path)
            ended = call(timeout=SECONDS)
            await ended.done_writing()
            assert await ended.code() is grpc.StatusCode.UNAUTHENTICATED, path
            trailing = dict(await ended.trailing_metadata())
            assert trailing["claraedge-error"] == "unauthenticated"
            assert "`claraedge token`" in await ended.details()


async def test_the_command_line_calls_another_machine(
    folder: Path, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = Authority(tmp_path / "clients")

    def version(site: Site) -> str:
        with connect(f"tls:localhost:{site.port}") as connection:
            return platform_version(connection)

    async with site_in(folder, authority) as site:
        with pytest.raises(UnavailableError, match="CLARAEDGE_CA"):
            await asyncio.to_thread(version, site)
        monkeypatch.setenv("CLARAEDGE_CA", str(authority.certificate))
        with pytest.raises(UnauthenticatedError, match="claraedge token"):
            await asyncio.to_thread(version, site)
        monkeypatch.setenv("CLARAEDGE_TOKEN", site.token)
        assert await asyncio.to_thread(version, site)
    monkeypatch.delenv("CLARAEDGE_TOKEN")
    async with site_in(folder, authority, clients.certificate) as site:
        pair = clients.issue("client")
        monkeypatch.setenv("CLARAEDGE_CERTIFICATE", str(pair.certificate))
        with pytest.raises(InvalidRequestError, match="CLARAEDGE_KEY"):
            await asyncio.to_thread(version, site)
        monkeypatch.setenv("CLARAEDGE_KEY", str(tmp_path / "missing"))
        with pytest.raises(InvalidRequestError, match=r"CLARAEDGE_KEY: .*missing cannot be read"):
            await asyncio.to_thread(version, site)
        monkeypatch.setenv("CLARAEDGE_KEY", str(pair.key))
        assert await asyncio.to_thread(version, site)


async def test_the_socket_needs_no_token(site: Site) -> None:
    assert await site.code(site.daemon.channel) is grpc.StatusCode.OK


async def test_loopback_is_open_to_the_machine_without_tls(folder: Path) -> None:
    """As ever: clients of the original send no token, and speak no TLS."""
    port = free_port()
    async with daemon_in(folder, api=ApiSettings(listen=(f"127.0.0.1:{port}",))) as daemon:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = clara_pb2_grpc.ClaraStub(channel)
            await stub.Version(clara_pb2.ClaraVersionRequest(), timeout=SECONDS)
        assert not tokens.path_in(daemon.config.state_dir).exists()


async def test_a_client_that_speaks_no_tls_is_refused(site: Site) -> None:
    async with site.channel(plain=True) as channel:
        assert await site.code(channel, bearer(site.token)) is grpc.StatusCode.UNAVAILABLE
    async with site.channel() as channel:
        assert await site.code(channel, bearer(site.token)) is grpc.StatusCode.OK


async def test_a_client_certificate_replaces_the_token(
    folder: Path, authority: Authority, tmp_path: Path
) -> None:
    clients, others = Authority(tmp_path / "clients"), Authority(tmp_path / "others")
    async with site_in(folder, authority, clients.certificate) as site:
        async with site.channel(clients.issue("client")) as channel:
            assert await site.code(channel) is grpc.StatusCode.OK
        for client in (None, others.issue("client"), authority.issue("client")):
            async with site.channel(client) as channel:
                assert await site.code(channel) is grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_certificate_is_served_and_open_calls_continue(
    site: Site, authority: Authority
) -> None:
    def served() -> bytes:
        address = ("127.0.0.1", site.port)
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(address, timeout=SECONDS))

    first = site.pair.server
    assert await asyncio.to_thread(served) == first
    async with site.channel() as channel, asyncio.timeout(60):
        stub: Any = events_pb2_grpc.EventsStub(channel)
        watch = stub.Watch(metadata=[bearer(site.token)])
        await watch.write(events_pb2.WatchRequest(follow=events_pb2.Follow(all_jobs=True)))
        install(authority.issue(), site.pair)
        assert await asyncio.to_thread(served) == site.pair.server != first
        second = site.pair.server
        site.pair.key.write_text("half of a")
        assert await asyncio.to_thread(served) == second, "a broken one is not used"
        job = (await site.daemon.create(await site.daemon.register(chain("copy")))).job_id.value
        seen = ""
        while job not in seen:
            answer = await watch.read()
            assert answer is not grpc.aio.EOF, "the call of before has ended"
            seen += str(answer)
        watch.cancel()


async def test_a_renewed_authority_of_clients_applies_to_new_connections(
    folder: Path, authority: Authority, tmp_path: Path
) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    clients = folder / "clients.pem"
    clients.write_bytes(old.certificate.read_bytes())
    async with site_in(folder, authority, clients) as site:
        of_old, of_new = old.issue("client"), new.issue("client")
        async with site.channel(of_old) as channel:
            assert await site.code(channel) is grpc.StatusCode.OK
        clients.write_bytes(new.certificate.read_bytes())
        async with site.channel(of_old) as channel:
            assert await site.code(channel) is grpc.StatusCode.UNAVAILABLE
        async with site.channel(of_new) as channel:
            assert await site.code(channel) is grpc.StatusCode.OK


async def test_slow_handshakes_delay_neither_others_nor_a_stop(
    folder: Path, authority: Authority
) -> None:
    slow = []
    async with site_in(folder, authority) as site:
        for _ in range(20):
            slow.append(socket.create_connection(("127.0.0.1", site.port)))
            slow[-1].sendall(b"\x16\x03\x01")
        async with site.channel() as channel:
            assert await site.code(channel, bearer(site.token)) is grpc.StatusCode.OK
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 15
    for each in slow:
        each.close()


async def test_connections_have_a_limit_and_those_of_the_socket_are_not_counted(
    folder: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [(key, 3 if "incoming_connections" in key else v) for key, v in server._OPTIONS]
    monkeypatch.setattr(server, "_OPTIONS", options)
    async with site_in(folder, authority) as site:
        silent = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(3)]
        async with site.channel() as channel:
            assert await site.code(channel, bearer(site.token)) is grpc.StatusCode.UNAVAILABLE
        assert await site.code(site.daemon.channel) is grpc.StatusCode.OK
        for each in silent:
            each.close()

        async def served() -> bool:
            async with site.channel() as channel:
                return await site.code(channel, bearer(site.token)) is grpc.StatusCode.OK

        await eventually(served, "the others are gone, and a connection is served")


async def test_a_port_that_is_in_use_is_reported(folder: Path, authority: Authority) -> None:
    pair = authority.issue()
    with socket.socket() as stranger:
        stranger.bind(("0.0.0.0", 0))
        stranger.listen()
        address = f"0.0.0.0:{stranger.getsockname()[1]}"
        with pytest.raises(AlreadyRunningError, match=rf"{address} cannot be listened on"):
            async with Server(
                folder / "s.sock",
                [],
                CallLimits(unary=1.0, idle=1.0),
                [address],
                Certificates(pair.certificate, pair.key, None),
            ):
                pass


async def test_a_certificate_that_cannot_be_used_ends_the_start(
    folder: Path, authority: Authority
) -> None:
    pair = authority.issue()
    tls = TlsSettings(certificate=pair.certificate, key=authority.issue().key)
    with pytest.raises(ConfigurationError, match="no certificate and its key"):
        async with daemon_in(folder, api=ApiSettings(listen=(f"0.0.0.0:{free_port()}",)), tls=tls):
            pass
