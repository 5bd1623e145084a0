"""`/health/live` and `/health/ready` say what gRPC's own health service says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.api.transport.standard import HEALTH, HealthServicer
from claraedge.config import HttpSettings
from claraedge.web.server import HttpServer
from tests.unit.web.conftest import Client, Daemon, daemon_in, no_routes
from tests.unit.web.test_tcp import site_in


async def test_a_daemon_that_serves_is_live_and_ready(daemon: Daemon, http: Client) -> None:
    for path, status in (("/health/live", "live"), ("/health/ready", "ready")):
        answer = await http.ask("GET", path)
        assert (answer.status, answer.json) == (200, {"status": status})
        head = await http.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
    assert (await http.ask("POST", "/health/ready")).status == 405


async def test_a_daemon_that_does_not_serve_is_live_and_not_ready(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services: list[HealthServicer] = []
    original = HealthServicer.set

    def noted(self: HealthServicer, *, serving: bool) -> None:
        services.append(self)
        original(self, serving=serving)

    monkeypatch.setattr(HealthServicer, "set", noted)
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        original(services[0], serving=False)
        answer = await http.ask("GET", "/health/ready")
        assert answer.status == 503
        assert "starts or stops" in answer.json["message"]
        assert (await http.ask("GET", "/health/live")).status == 200
        original(services[0], serving=True)
        assert (await http.ask("GET", "/health/ready")).status == 200


async def test_without_the_grpc_server_nothing_is_ready(folder: Path) -> None:
    async def metrics(_: bool) -> tuple[str, bytes]:
        return "text/plain", b""

    socket = folder / "http.sock"
    server = HttpServer(
        socket,
        HttpSettings(),
        [HEALTH],
        folder / "none.sock",
        metrics=metrics,
        dial=no_routes,
        idle=10,
    )
    async with server:
        http = Client(socket)
        async with asyncio.timeout(10):
            answer = await http.ask("GET", "/health/ready")
        assert answer.status == 503
        assert answer.json["code"] == "unavailable"
        assert answer.headers["claraedge-error"] == "unavailable"
        assert (await http.ask("GET", "/health/live")).status == 200


async def test_over_tcp_only_the_state_of_health_needs_no_token(folder: Path) -> None:
    async with site_in(folder) as site:
        for path in ("/health/live", "/health/ready"):
            assert (await site.http.ask("GET", path)).status == 200
        for path in ("/metrics", "/openapi.json", "/api"):
            assert (await site.http.ask("GET", path)).status == 401
            bearer = f"Bearer {site.token}"
            assert (await site.http.ask("GET", path, Authorization=bearer)).status == 200
