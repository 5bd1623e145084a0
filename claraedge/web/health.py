"""Serves `/health/live` and `/health/ready`, for supervisors and load balancers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping

from grpc_health.v1 import health_pb2

from claraedge.errors import UnavailableError
from claraedge.web.http.failures import HttpError, refused
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rpc.exchange import Exchange
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream

_CHECK = "/grpc.health.v1.Health/Check"
#: Seconds in which the daemon has to say that it serves.
_PATIENCE = 2.0


class Health:
    """Says whether the daemon lives, and whether it serves."""

    def __init__(self, methods: Mapping[str, Method], upstream: Upstream) -> None:
        """`methods`: with those of gRPC's health service, which is asked."""
        self._check = methods[_CHECK]
        self._upstream = upstream

    def routes(self) -> Iterable[Route]:
        yield Route("GET", "/health/live", _live, open=True)
        yield Route("GET", "/health/ready", self._ready, open=True)

    async def _ready(self, request: Request, reply: Reply) -> None:
        until = asyncio.get_running_loop().time() + _PATIENCE
        exchange = Exchange(self._upstream, self._check, request.body, reply, until)
        try:
            answer = await exchange.one(_whole_server())
        except HttpError as failure:
            raise refused(UnavailableError(f"the daemon does not serve: {failure}"), 503) from None
        status = health_pb2.HealthCheckResponse.FromString(answer).status
        if status != health_pb2.HealthCheckResponse.SERVING:
            raise refused(
                UnavailableError(
                    f"{request.path}: the daemon starts or stops, and accepts no work; try again"
                    " later"
                )
            )
        await _answer(reply, "ready")


async def _whole_server() -> AsyncGenerator[bytes, None]:
    yield health_pb2.HealthCheckRequest().SerializeToString()


async def _live(_: Request, reply: Reply) -> None:
    await _answer(reply, "live")


async def _answer(reply: Reply, status: str) -> None:
    await reply.whole(json.dumps({"status": status}).encode(), "application/json")
