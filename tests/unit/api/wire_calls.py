"""Calls of the platform's methods by their descriptors, for tests that walk all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from claraedge.wire.nvidia.clara.platform import (
    clara_pb2,
    jobs_pb2,
    models_pb2,
    payloads_pb2,
    pipelines_pb2,
)
from claraedge.wire.nvidia.clara.platform.node_monitor import metrics_pb2

_MODULES = (clara_pb2, jobs_pb2, models_pb2, payloads_pb2, pipelines_pb2, metrics_pb2)

#: `Jobs/Start` -> its descriptor, for all 43 methods.
METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def request_of(name: str, /, **fields: Any) -> Message:
    """A request of a method; fields that it lacks are left out."""
    kind = GetMessageClass(METHODS[name].input_type)
    known = kind.DESCRIPTOR.fields_by_name
    return kind(**{key: value for key, value in fields.items() if key in known})


async def call(
    channel: grpc.aio.Channel, name: str, requests: Sequence[Message | bytes]
) -> list[Any]:
    """All answers of a method. Requests that are bytes go as they are."""
    method = METHODS[name]
    path = f"/{method.containing_service.full_name}/{method.name}"
    response = GetMessageClass(method.output_type)

    def serialise(request: Message | bytes) -> bytes:
        return request if isinstance(request, bytes) else request.SerializeToString()

    def stream() -> Iterator[Message | bytes]:
        yield from requests

    sent: Any = stream() if method.client_streaming else requests[0]
    make = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
    }[method.client_streaming, method.server_streaming]
    answer = make(path, request_serializer=serialise, response_deserializer=response.FromString)(
        sent, timeout=20
    )
    if method.server_streaming:
        return [message async for message in answer]
    return [await answer]
