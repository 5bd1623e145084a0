"""The methods that are served over HTTP, made from the descriptors of the gRPC services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A gRPC method: its path, which is the same for gRPC and HTTP, and its messages."""

    path: str
    """`/package.Service/Method`"""
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool

    @property
    def streaming(self) -> bool:
        """Whether it has a stream in either direction."""
        return self.client_streaming or self.server_streaming


def descriptor(kind: type[Message]) -> Descriptor:
    """Returns the descriptor of a message type."""
    return cast("Descriptor", kind.DESCRIPTOR)


def methods_of(services: Iterable[ServiceDescriptor]) -> Mapping[str, Method]:
    """Returns all methods of `services` by their path."""
    found = [_method(method) for service in services for method in service.methods]
    return {method.path: method for method in found}


def _method(method: MethodDescriptor) -> Method:
    return Method(
        path=f"/{method.containing_service.full_name}/{method.name}",
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
    )
