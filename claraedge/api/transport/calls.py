"""Runs a call: its slot, its requests, its time limits, its answers.

Every method is served as a stream in both directions, which is the same on the wire. For a method
with a single request, gRPC itself would start the handler only after the request has arrived, and
would wait for it without a limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from claraedge.access.token import Token
from claraedge.api.answers import Context, abort, answer_of, status_of
from claraedge.api.transport.callers import check_caller
from claraedge.api.transport.idle import IdleLimit
from claraedge.api.transport.paging import page_of
from claraedge.api.transport.slots import CallKind, Slots, kind_of
from claraedge.errors import (
    CallTimeoutError,
    InvalidRequestError,
    NotSupportedError,
    TooManyCallsError,
    UnauthenticatedError,
    UndecodableRequestError,
)
from claraedge.memory import Budget


class Undecodable:
    """Represents a request whose bytes are not a message of its method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """Time limits of a call in seconds, independent of the deadline that its client set."""

    unary: float
    """From the request to the answer of a unary call."""
    idle: float
    """For the first message of a client, the next one of an upload, and to read one of ours."""


#: Called at the end of each call with its service, its method, the name of its gRPC status, and its
#: seconds. For an error that a Clara service reports in its header, it is the status of that error.
#: It returns at once, and raises nothing.
OnCall: TypeAlias = Callable[[str, str, str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """What all calls of a server share."""

    limits: CallLimits
    slots: Slots
    budget: Budget
    on_call: OnCall
    token: Token | None
    """What callers over TLS show; None: each of them has a certificate, or there are none."""


#: Answers a call, given its request or the messages of its stream; returns the name of its status.
_Answer: TypeAlias = Callable[[Any, Context], Awaitable[str]]
_OK = grpc.StatusCode.OK.name
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class UnknownMethods(grpc.GenericRpcHandler):
    """Counts calls of methods that no other handler knows; gRPC answers them by UNIMPLEMENTED.

    All of them count as one method, since clients choose their names.
    """

    def __init__(self, on_call: OnCall) -> None:
        self._on_call = on_call

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        code = grpc.StatusCode.UNIMPLEMENTED.name
        self._on_call("unknown", "unknown", code, 0.0)


def handlers(
    service: ServiceDescriptor, servicer: object, rules: CallRules
) -> grpc.GenericRpcHandler:
    """Returns the handlers of all methods of a service, according to its descriptor.

    A method that the servicer lacks returns UNIMPLEMENTED. Requests are decoded here, because
    grpc.aio itself returns UNKNOWN for requests that it cannot decode.
    """
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {m.name: _handler(m, servicer, rules) for m in service.methods},
    )


def _handler(method: MethodDescriptor, servicer: object, shared: CallRules) -> Any:
    limits, slots = shared.limits, shared.slots
    response = GetMessageClass(method.output_type)
    call = getattr(servicer, method.name, None) or _missing(method)
    kind = kind_of(method, call)
    make = _answer_stream if method.server_streaming else _answer
    answer = make(call, response, limits, limits.unary if kind is CallKind.UNARY else None)
    service = method.containing_service.full_name
    # The client of a watch may stay silent for ever after its first message.
    bounds = None if method.server_streaming else limits

    async def served(context: Context) -> str:
        try:
            check_caller(context, shared.token)
            slots.refuse_full(kind)
            async with slots.opening(limits.idle):
                first = await context.read()
            with slots.acquire(kind) as slot:
                if method.client_streaming:
                    request = _messages(first, context, bounds)
                else:
                    request = await _decoded(first, context)
                del first  # may be large; frees its memory
                try:
                    with shared.budget.share():
                        return await answer(request, context)
                except CallTimeoutError as error:
                    slot.leave()
                    await abort(context, error)
        except (CallTimeoutError, TooManyCallsError, UnauthenticatedError) as error:
            await abort(context, error)

    async def handle(_: object, context: Context) -> None:
        began = time.monotonic()
        code = grpc.StatusCode.CANCELLED.name  # unless it ends by itself
        try:
            code = await served(context)
        except grpc.aio.AbortError:
            code = _CODES.get(_number(context.code()), grpc.StatusCode.UNKNOWN.name)
            raise
        except Exception:
            code = grpc.StatusCode.UNKNOWN.name
            raise
        finally:
            shared.on_call(service, method.name, code, time.monotonic() - began)

    return grpc.stream_stream_rpc_method_handler(
        handle,
        request_deserializer=_decoder(GetMessageClass(method.input_type)),
        response_serializer=_encoded,
    )


def _encoded(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def _decoder(kind: type[Message]) -> Callable[[bytes], Message | Undecodable]:
    def decode(data: bytes) -> Message | Undecodable:
        try:
            return kind.FromString(data)
        except DecodeError:
            return Undecodable()

    return decode


def _missing(method: MethodDescriptor) -> Callable[..., Any]:
    name = f"{method.containing_service.name}.{method.name}"
    error = NotSupportedError(
        f"{name} is not part of this version of claraedge; update it, or do not use the call"
    )

    async def single(_request: object) -> NoReturn:
        raise error

    async def stream(_request: object) -> AsyncIterator[Message]:
        raise error
        yield Message()  # makes this a generator; never reached

    return stream if method.server_streaming else single


def _answer(
    call: Callable[..., Awaitable[Message]],
    response: type[Message],
    limits: CallLimits,
    total: float | None,
) -> _Answer:
    async def answer(request: Any, context: Context) -> str:
        code = _OK
        try:
            async with asyncio.timeout(total) as bound:
                message = await call(request)
        except Exception as error:  # noqa: BLE001 - a bug in one call must not pass for an answer
            if bound.expired():
                raise CallTimeoutError(
                    f"the call took more than {total:g} s; try again, or raise api.unary_seconds"
                ) from None
            message, code = await answer_of(error, response, context), status_of(error)
        with IdleLimit(limits.idle) as idle:
            await _send(message, context, idle)
        return code

    return answer


def _answer_stream(
    call: Callable[..., AsyncGenerator[Message | bytes, None]],
    response: type[Message],
    limits: CallLimits,
    _: float | None,
) -> _Answer:
    async def answer(request: Any, context: Context) -> str:
        begun = False
        with IdleLimit(limits.idle) as idle:
            try:
                with page_of(context):
                    async with aclosing(call(request)) as messages:
                        async for message in messages:
                            await _send(message, context, idle)
                            begun = True
            except Exception as error:  # noqa: BLE001 - as above
                message = await answer_of(error, response, context, may_answer=not begun)
                await _send(message, context, idle)
                return status_of(error)
        return _OK

    return answer


def _number(code: Any) -> int:
    """Returns the number of a status, which gRPC has as a number or as a constant."""
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else int(code or 0)


async def _send(message: Message | bytes, context: Context, idle: IdleLimit) -> None:
    """Sends a message; if the client has disconnected, the call is cancelled.

    Raises CallTimeoutError if the client does not read the message within the idle time.
    """
    try:
        await idle.wait("took no message", context.write(message))
    except grpc.aio.BaseError as error:
        raise asyncio.CancelledError from error


async def _decoded(request: Any, context: Context) -> Any:
    if request is grpc.aio.EOF:
        await abort(
            context, InvalidRequestError("the call holds no request; this method needs one message")
        )
    if isinstance(request, Undecodable):
        await abort(
            context,
            UndecodableRequestError(
                "the request is not the protobuf message of this method; compare the client's"
                " protos with those of claraedge"
            ),
        )
    return request


async def _messages(
    request: Any, context: Context, limits: CallLimits | None
) -> AsyncGenerator[Any, None]:
    """Yields the messages of a stream from the first one on; ends only if its client ended it.

    If a client loses its connection, grpc.aio usually reports the end of the stream first and
    cancels the handler a little later. Sending the initial metadata, which is harmless before an
    answer, reveals that cancellation, so that half an upload is never taken for a whole one.
    """
    with IdleLimit(None if limits is None else limits.idle) as idle:
        while request is not grpc.aio.EOF:
            decoded = [await _decoded(request, context)]
            del request  # may be large: nothing here keeps it while the caller works with it
            yield decoded.pop()
            request = await idle.wait("sent no message", context.read())
    if limits is not None:
        try:
            await context.send_initial_metadata(())
        except grpc.aio.BaseError as error:
            raise asyncio.CancelledError from error
