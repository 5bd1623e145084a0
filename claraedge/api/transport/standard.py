"""Implements the standard services of gRPC: health and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from claraedge.api.transport.slots import endless
from claraedge.errors import ServiceNotFoundError

HEALTH: ServiceDescriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION: ServiceDescriptor = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]

_Status = health_pb2.HealthCheckResponse


class HealthServicer:
    """Implements all methods. The empty service name means the whole server."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = frozenset({"", *services})
        self._status = _Status.NOT_SERVING
        self._changed = asyncio.Event()

    def set(self, *, serving: bool) -> None:
        """Sets the status that all services report from now on."""
        self._status = _Status.SERVING if serving else _Status.NOT_SERVING
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckResponse:
        """Returns the status of a service. Raises ServiceNotFoundError."""
        if request.service not in self._services:
            raise ServiceNotFoundError(
                f"there is no service {request.service[:80]!r}; server reflection lists those there"
                " are"
            )
        return _Status(status=self._status)

    async def List(self, request: health_pb2.HealthListRequest) -> health_pb2.HealthListResponse:
        """Returns the status of each service."""
        status = _Status(status=self._status)
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._services, status))

    @endless
    async def Watch(
        self, request: health_pb2.HealthCheckRequest
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """Yields the status of a service now and after each change."""
        known = request.service in self._services
        while True:
            changed = self._changed
            yield _Status(status=self._status if known else _Status.SERVICE_UNKNOWN)
            await changed.wait()


class ReflectionServicer:
    """Implements ServerReflectionInfo."""

    def __init__(self, services: Sequence[str]) -> None:
        self._names = reflection.aio.ReflectionServicer(services)

    def ServerReflectionInfo(
        self, requests: AsyncIterator[Message]
    ) -> AsyncGenerator[Message, None]:
        answers: AsyncGenerator[Message, None] = self._names.ServerReflectionInfo(requests, None)
        return answers
