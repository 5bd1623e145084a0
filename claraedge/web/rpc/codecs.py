"""Forms of a message in HTTP bodies: JSON and protobuf. Both sides of a call use the same one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from claraedge.blocking import Threads
from claraedge.errors import UndecodableRequestError
from claraedge.web.http.failures import refused, too_large

M = TypeVar("M", bound=Message)
P = ParamSpec("P")
T = TypeVar("T")

#: The most bytes of a message in protobuf: gRPC's limit.
MESSAGE = 4 * 1024 * 1024
#: The most bytes of a request: `MESSAGE`, of which JSON makes a third more, and some for names.
LIMIT = 6 * 1024 * 1024
#: Large messages that are converted at the same time: each needs many times its size.
_CONVERTERS = Threads(2, "json")
#: Bytes from which a message is decoded in a thread, so that other calls do not wait for it.
_LARGE = 64 * 1024
_DEPTH = 64
_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
#: What the conversion of JSON raises. SystemError: of protobuf, for half a character in a name.
WRONG = (
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
        return await off_loop(len(body), _parsed, body, kind)

    async def answer(self, message: bytes, kind: type[Message]) -> bytes:
        return await off_loop(len(message), _printed, message, kind)


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


async def off_loop(size: int, convert: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns the result of a conversion; runs it in a thread if its message is large.

    `size`: bytes of the message.
    """
    if size < _LARGE:
        return convert(*args, **kwargs)
    return await _CONVERTERS.run(convert, *args, **kwargs)


async def decoded(data: bytes, kind: type[M]) -> M:
    """Returns a message of protobuf. Raises DecodeError."""
    return await off_loop(len(data), kind.FromString, data)


CODECS: dict[str, Codec] = {codec.name: codec for codec in (JsonCodec(), ProtoCodec())}


def json_value(body: bytes) -> Any:
    """Returns the value of a JSON text; an empty object if it is empty. Raises HttpError."""
    try:
        return json.loads(body or b"{}", object_pairs_hook=_unique)
    except WRONG as error:
        raise refused(
            UndecodableRequestError(f"the request is not JSON: {why(error)}; correct it")
        ) from None


def written(value: Any, kind: type[Message]) -> bytes:
    """Returns canonical JSON as protobuf. Raises HttpError."""
    message = kind()
    try:
        if not isinstance(value, dict):
            raise ValueError("it is no object")
        json_format.ParseDict(value, message, max_recursion_depth=_DEPTH)
    except WRONG as error:
        raise refused(
            UndecodableRequestError(
                f"the request is not the JSON of a {kind.DESCRIPTOR.full_name}: {why(error)};"
                " /openapi.json describes it"
            )
        ) from None
    return _checked(message.SerializeToString())


def _parsed(body: bytes, kind: type[Message]) -> bytes:
    return written(json_value(body), kind)


def json_text(value: Any) -> bytes:
    """Returns JSON in one line, without the line's end.

    Characters at which some programs end a line are escaped: only JSON allows them in a string.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ENDS).encode()


def _checked(message: bytes) -> bytes:
    if len(message) > MESSAGE:
        raise too_large(MESSAGE)
    return message


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice in an object")
    return value


def why(error: Exception) -> str:
    """Returns what is wrong with JSON, in one line, without a full stop."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return " ".join(str(error).split())[:500].rstrip(". ") or type(error).__name__


def _printed(message: bytes, kind: type[Message]) -> bytes:
    return json_text(json_format.MessageToDict(kind.FromString(message)))
