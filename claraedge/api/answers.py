"""How calls are answered: headers, errors, undecodable requests, methods that are not there.

The Clara services answer errors in their header with gRPC status OK, as the original does. The
services of claraedge itself have no header; they answer the gRPC status that stands for the error,
and its stable name in the trailing metadata `claraedge-error`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from claraedge.errors import (
    CallTimeoutError,
    ClaraedgeError,
    NotSupportedError,
    StateFolderError,
    StorageFullError,
    UndecodableRequestError,
)
from claraedge.texts import shown
from claraedge.wire.nvidia.clara.platform import common_pb2 as common

_log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

#: Longest text of one error message, in characters.
MAX_TEXT = 8192
#: Bytes of the text beside a gRPC status. It travels in a header, which takes 8 KiB, and there a
#: byte that is not ASCII takes three.
_MAX_DETAILS = 2048


class Undecodable:
    """Stands for a request whose bytes are no message of its method."""


def ok(*warnings: str) -> common.ResponseHeader:
    """The header of a success; the original's clients leave its messages unread."""
    return common.ResponseHeader(code=0, messages=warnings)


def failure(error: ClaraedgeError) -> common.ResponseHeader:
    """The header of an error: its code, and messages that are never empty."""
    messages = [shown(text[:MAX_TEXT]) for text in error.messages] or [error.name]
    return common.ResponseHeader(code=error.code, messages=messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a call may keep the server, in seconds, whatever deadline its client gave."""

    unary: float
    """From the request to the answer."""
    idle: float
    """For the next message of a client's stream, and for a client to take the next of ours."""


def handlers(
    service: ServiceDescriptor, servicer: object, limits: Limits
) -> grpc.GenericRpcHandler:
    """All methods of a service, each as its descriptor says.

    A method that the servicer lacks answers UNIMPLEMENTED. Requests are decoded here, because
    grpc.aio answers UNKNOWN by itself for what it cannot decode.
    """
    return grpc.method_handlers_generic_handler(
        service.full_name, {m.name: _handler(m, servicer, limits) for m in service.methods}
    )


def _handler(method: MethodDescriptor, servicer: object, limits: Limits) -> Any:
    response = GetMessageClass(method.output_type)
    call = getattr(servicer, method.name, None) or _missing(method)
    make = _MAKERS[method.client_streaming, method.server_streaming]
    if method.server_streaming:
        answer: Callable[..., Any] = _answer_stream(call, response, limits)
    elif method.client_streaming:
        answer = _answer(call, response, limits, None)
    else:
        answer = _answer(call, response, limits, limits.unary)
    return make(
        answer,
        request_deserializer=_decoder(GetMessageClass(method.input_type)),
        response_serializer=response.SerializeToString,
    )


#: (client streams, server streams) -> what makes the handler.
_MAKERS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _decoder(kind: type[Message]) -> Callable[[bytes], Message | Undecodable]:
    def decode(data: bytes) -> Message | Undecodable:
        try:
            return kind.FromString(data)
        except DecodeError:
            return Undecodable()

    return decode


def _missing(method: MethodDescriptor) -> Callable[..., Any]:
    name = f"{method.containing_service.name}.{method.name}"
    error = NotSupportedError(f"{name} is not part of this version of claraedge")

    async def single(_request: object) -> NoReturn:
        raise error

    async def stream(_request: object) -> AsyncIterator[Message]:
        raise error
        yield Message()  # makes this a generator; never reached

    return stream if method.server_streaming else single


def _answer(
    call: Callable[..., Awaitable[Message]],
    response: type[Message],
    limits: Limits,
    total: float | None,
) -> Callable[[Any, Context], Awaitable[Message]]:
    async def answer(request: Any, context: Context) -> Message:
        try:
            async with asyncio.timeout(total) as bound:
                return await call(await _decoded(request, context, limits))
        except Exception as error:  # noqa: BLE001 - a bug in one call must not pass for an answer
            if bound.expired():
                await _abort(context, CallTimeoutError(f"the call took more than {total:g} s"))
            return await _error(error, response, context)

    return answer


def _answer_stream(
    call: Callable[..., AsyncGenerator[Message, None]], response: type[Message], limits: Limits
) -> Callable[[Any, Context], Awaitable[None]]:
    async def answer(request: Any, context: Context) -> None:
        begun = False
        try:
            decoded = await _decoded(request, context, None)
            async with aclosing(call(decoded)) as messages:
                async for message in messages:
                    async with _idle(limits, "took no message"):
                        await _write(context, message)
                    begun = True
        except CallTimeoutError as error:
            await _abort(context, error)
        except Exception as error:  # noqa: BLE001 - as above
            message = await _error(error, response, context, may_answer=not begun)
            await _write(context, message)

    return answer


async def _write(context: Context, message: Message) -> None:
    """Sends a message; a client that is gone cancels the call, as one that cancels does."""
    try:
        await context.write(message)
    except grpc.aio.BaseError as error:
        raise asyncio.CancelledError from error


@asynccontextmanager
async def _idle(limits: Limits | None, what: str) -> AsyncGenerator[None, None]:
    """Bounds the wait for a client by the idle time. Raises CallTimeoutError."""
    seconds = None if limits is None else limits.idle
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise CallTimeoutError(f"the client {what} for {seconds:g} s; the call is ended") from None


async def _decoded(request: Any, context: Context, limits: Limits | None) -> Any:
    """The request, or the messages of a stream. Limits None: both sides stream, as in a watch,
    whose client may be silent for ever.
    """
    if isinstance(request, Undecodable):
        await _refuse_undecodable(context)
    if isinstance(request, AsyncIterator):
        return _decoded_each(request, context, limits)
    return request


async def _decoded_each(
    requests: AsyncIterator[Any], context: Context, limits: Limits | None
) -> AsyncGenerator[Any, None]:
    """The messages of a stream; it ends normally only where its client ended it.

    grpc.aio reports a stream whose client was cut off as one that ended, most of the time, and
    cancels the handler a little later. Sending the initial metadata, which is harmless before an
    answer, meets that cancellation: so half an upload is never taken for a whole one.
    """
    while True:
        async with _idle(limits, "sent no message"):
            request = await anext(requests, None)
        if request is None:
            break
        if isinstance(request, Undecodable):
            await _refuse_undecodable(context)
        yield request
        del request  # may be large, and the next may be long in coming
    if limits is not None:
        try:
            await context.send_initial_metadata(())
        except grpc.aio.BaseError as error:
            raise asyncio.CancelledError from error


async def _refuse_undecodable(context: Context) -> NoReturn:
    await _abort(
        context,
        UndecodableRequestError(
            "the request is not the protobuf message of this method; compare the client's protos"
            " with those of claraedge"
        ),
    )


async def _error(
    error: Exception, response: type[Message], context: Context, *, may_answer: bool = True
) -> Message:
    """The message that says so; else, where no client would look at its header, the gRPC status.

    The original's clients read the header of a stream's first message only: half a file must not
    pass for a whole one.
    """
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, CallTimeoutError):
        await _abort(context, error)
    known = error if isinstance(error, ClaraedgeError) else _unforeseen(error)
    with_header = "header" in response.DESCRIPTOR.fields_by_name
    if isinstance(known, NotSupportedError) or not with_header or not may_answer:
        await _abort(context, known)
    return response(header=failure(known))


def _unforeseen(error: Exception) -> ClaraedgeError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(
            "a disk of the daemon is full; free some space (see `claraedge status`) and try again"
        )
    if _is_of_a_disk(error):
        _log.error("call failed: a disk does not work: %s", error)
        return StateFolderError(
            f"a disk of the daemon fails ({error}): `sudo dmesg` on its machine says why; check"
            " that disk, mount it for writing, and start the daemon again"
        )
    _log.error("call failed", exc_info=error)
    return ClaraedgeError(f"internal error: {error!r}; `journalctl -u claraedge` has the details")


def _is_of_a_disk(error: Exception) -> bool:
    """Whether a disk takes or gives nothing; one that failed was made read-only by the kernel."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)  # Python's own errors have none
        return code is not None and code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
    return isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EIO)


async def _abort(context: Context, error: ClaraedgeError) -> NoReturn:
    try:
        await context.abort(
            grpc.StatusCode[error.status],
            shown(str(error)).encode()[:_MAX_DETAILS].decode("utf-8", "ignore"),
            trailing_metadata=(("claraedge-error", error.name),),
        )
    except (grpc.aio.InternalError, grpc.aio.UsageError) as gone:
        # The client left meanwhile: nobody hears of it, and it is no failure of the call.
        raise asyncio.CancelledError from gone
    raise AssertionError("abort always raises")
