"""Calls to the daemon's own gRPC socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from claraedge.web.failures import of_rpc
from claraedge.web.methods import Method

#: Calls that share a connection. More of them wait in gRPC (`STREAMS` of the server is 256), and
#: streams that last long must not delay the others.
_PER_CHANNEL = 200
#: Milliseconds after its last call at which a connection is closed, so that it sends no pings.
_IDLE = 20_000
_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.client_idle_timeout_ms", _IDLE),
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.http2.max_frame_size", 1024 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 320 * 1024),
]


class UpstreamCall:
    """One call, with messages as bytes. Every method is called as a stream in both directions.

    That is the same on the wire. All methods raise HttpError with the status of the call.
    """

    def __init__(self, call: Any) -> None:
        self._call = call

    async def write(self, message: bytes) -> None:
        """Sends a message; returns when there is room for the next one."""
        try:
            await self._call.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError):
            await self._end()

    async def done_writing(self) -> None:
        """Ends the stream of requests."""
        try:
            await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            await self._end()

    async def read(self) -> bytes | None:
        """Returns the next answer; None after the last one of a call that succeeded."""
        try:
            answer = await self._call.read()
        except grpc.RpcError:
            answer = grpc.aio.EOF
        if answer is grpc.aio.EOF:
            await self._end()
            return None
        message: bytes = answer
        return message

    async def _end(self) -> None:
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            trailing = dict(await self._call.trailing_metadata() or ())
            raise of_rpc(code, await self._call.details() or "", trailing)


class Upstream:
    """Connections to the daemon's socket, opened by the first calls. A context manager."""

    def __init__(self, socket: Path) -> None:
        self._target = f"unix:{socket}"
        self._channels: dict[grpc.aio.Channel, int] = {}
        """Each channel with the number of its open calls."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))

    @asynccontextmanager
    async def call(
        self, method: Method, timeout: float | None
    ) -> AsyncGenerator[UpstreamCall, None]:
        """Opens a call, and cancels it if it has not ended when the context is left.

        `timeout`: seconds until its deadline.
        """
        channel = self._channel()
        self._channels[channel] += 1
        opened: Any = channel.stream_stream(method.path)  # without converters: bytes
        call = opened(timeout=timeout)
        try:
            yield UpstreamCall(call)
        finally:
            call.cancel()
            self._channels[channel] -= 1

    def _channel(self) -> grpc.aio.Channel:
        for channel, calls in self._channels.items():
            if calls < _PER_CHANNEL:
                return channel
        channel = grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        self._channels[channel] = 0
        return channel
