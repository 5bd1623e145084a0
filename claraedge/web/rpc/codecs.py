"""Forms of a message in HTTP bodies: JSON and protobuf. Both sides of a call use the same one."""

from __future__ import annotations

import json
from typing import Protocol, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from claraedge.blocking import Threads
from claraedge.errors import UndecodableRequestError
from claraedge.web.http.failures import refused, too_large

M = TypeVar("M", bound=Message)

#: The most bytes of a message in protobuf: gRPC's limit.
MESSAGE = 4 * 1024 * 1024
#: The most bytes of a request: `MESSAGE`, of which JSON makes a third more, and some for names.
LIMIT = 6 * 1024 * 1024
#: Large messages that are converted at the same time: each needs many times its size.
_CONVERTERS = Threads(2, "json")
#: Bytes from which a message is decoded in a thread, so that other calls do not wait for it.
_LARGE = 64 * 1024
_DEPTH = 64
#: What the conversion of JSON raises. SystemError: of protobuf, for half a character in a name.
_WRONG = (
    json_format.Error,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    SystemError,
)


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
        return await _CONVERTERS.run(_parsed, body, kind)

    async def answer(self, message: bytes, kind: type[Message]) -> bytes:
        if len(message) < _LARGE:
            return _printed(message, kind)
        return await _CONVERTERS.run(_printed, message, kind)


class ProtoCodec:
    """Protobuf: what gRPC sends."""

    name = "proto"

    async def request(self, body: bytes, kind: type[Message]) -> bytes:
        try:
            await decoded(body, kind)
        except DecodeError:
            raise refused(
                UndecodableRequestError(
                    f"the request is not a protobuf message {kind.DESCRIPTOR.full_name}; compare"
                    " the client's protos with those of claraedge"
                )
            ) from None
        return _checked(body)

    async def answer(self, message: bytes, kind: type[Message]) -> bytes:
        return message


async def decoded(data: bytes, kind: type[M]) -> M:
    """Returns a message of protobuf. Raises DecodeError."""
    if len(data) < _LARGE:
        return kind.FromString(data)
    return await _CONVERTERS.run(kind.FromString, data)


CODECS: dict[str, Codec] = {codec.name: codec for codec in (JsonCodec(), ProtoCodec())}


def _parsed(body: bytes, kind: type[Message]) -> bytes:
    message = kind()
    try:
        value = json.loads(body or b"{}", object_pairs_hook=_unique)
        if not isinstance(value, dict):
            raise ValueError("it is no object")
        json_format.ParseDict(value, message, max_recursion_depth=_DEPTH)
    except _WRONG as error:
        raise refused(
            UndecodableRequestError(
                f"the request is not the JSON of a {kind.DESCRIPTOR.full_name}: {_why(error)};"
                " compare it with the protos of claraedge"
            )
        ) from None
    return _checked(message.SerializeToString())


def _checked(message: bytes) -> bytes:
    if len(message) > MESSAGE:
        raise too_large(MESSAGE)
    return message


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
