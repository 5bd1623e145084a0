"""Forms of a message in HTTP bodies: JSON and protobuf. Both sides of a call use the same one."""

from __future__ import annotations

import json
from typing import Protocol

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from claraedge.blocking import in_thread
from claraedge.errors import UndecodableRequestError
from claraedge.web.failures import refused

#: Bytes from which a message is decoded in a thread, so that other calls do not wait for it.
_LARGE = 64 * 1024
_DEPTH = 64


class Codec(Protocol):
    """Converts messages between HTTP bodies and gRPC."""

    name: str
    """The part of the content type: `json` or `proto`."""

    async def request(self, body: bytes, kind: type[Message]) -> bytes:
        """Returns the body of a request as protobuf. Raises HttpError."""

    async def answer(self, message: bytes, kind: type[Message]) -> bytes:
        """Returns an answer as a body."""


class JsonCodec:
    """Canonical JSON of proto3, in one line."""

    name = "json"

    async def request(self, body: bytes, kind: type[Message]) -> bytes:
        if len(body) < _LARGE:
            return _parsed(body, kind)
        return await in_thread(_parsed, body, kind)

    async def answer(self, message: bytes, kind: type[Message]) -> bytes:
        if len(message) < _LARGE:
            return _printed(message, kind)
        return await in_thread(_printed, message, kind)


class ProtoCodec:
    """Protobuf: what gRPC sends."""

    name = "proto"

    async def request(self, body: bytes, kind: type[Message]) -> bytes:
        try:
            kind.FromString(body)
        except DecodeError:
            raise refused(
                UndecodableRequestError(
                    f"the request is not a protobuf message {kind.DESCRIPTOR.full_name}; compare"
                    " the client's protos with those of claraedge"
                )
            ) from None
        return body

    async def answer(self, message: bytes, kind: type[Message]) -> bytes:
        return message


CODECS: dict[str, Codec] = {codec.name: codec for codec in (JsonCodec(), ProtoCodec())}


def _parsed(body: bytes, kind: type[Message]) -> bytes:
    message = kind()
    try:
        value = json.loads(body or b"{}", object_pairs_hook=_unique)
        if not isinstance(value, dict):
            raise ValueError("it is no object")
        json_format.ParseDict(value, message, max_recursion_depth=_DEPTH)
    except (json_format.Error, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise refused(
            UndecodableRequestError(
                f"the request is not the JSON of a {kind.DESCRIPTOR.full_name}: {_why(error)};"
                " compare it with the protos of claraedge"
            )
        ) from None
    return message.SerializeToString()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice in an object")
    return value


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return " ".join(str(error).split())[:500].rstrip(". ") or type(error).__name__


def _printed(message: bytes, kind: type[Message]) -> bytes:
    value = json_format.MessageToDict(kind.FromString(message))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
