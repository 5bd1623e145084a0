"""Calls to the daemon's own gRPC socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from claraedge.errors import NAME_KEY, UnavailableError
from claraedge.web.http.failures import of_rpc, refused
from claraedge.web.rpc.methods import Method

#: Calls that share a connection. More of them wait in gRPC (`STREAMS` of the server is 256), and
#: streams that last long must not delay the others.
_PER_CHANNEL = 200
#: Milliseconds after its last call at which a connection is closed, so that it sends no pings.
_IDLE = 20_000
_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.client_idle_timeout_ms", _IDLE),
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    # A request that comes before the daemon serves must not delay those after it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.http2.max_frame_size", 1024 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 320 * 1024),
]


_NONE: Mapping[str, str] = {}
#: What a call raises that has ended. gRPC lets errors of its core through where the call ends while
#: a message is sent.
_ENDED = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
#: Statuses that gRPC reports for a call whose deadline passes while a message is sent.
_LATE = frozenset(
    {grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE}
)
#: Seconds before a deadline from which such a status is put down to it: gRPC's server refuses a
#: call that would end at once.
_EARLY = 0.02
#: What gRPC reports in place of the status of a call that ends while a message is sent.
_LOST = "Internal error from Core"


class UpstreamCall:
    """One call, with messages as bytes. Every method is called as a stream in both directions.

    That is the same on the wire.
    """

    def __init__(self, call: Any, until: float | None) -> None:
        """`until`: its deadline, by the clock of the event loop."""
        self.trailing: Mapping[str, str] = {}
        """The trailing metadata of a call that has ended; empty before."""
        self._call = call
        self._until = until

    async def write(self, message: bytes) -> None:
        """Sends a message; returns when there is room for the next one.

        Does nothing if the call has ended: `read` says how.
        """
        with contextlib.suppress(*_ENDED):
            await self._call.wait_for_connection()
            # Not `write`: where the call ends meanwhile, it replaces the status of the call by an
            # internal error, and drops the answers that were not read yet.
            await self._call._cython_call.send_serialized_message(message)

    async def done_writing(self) -> None:
        """Ends the stream of requests."""
        with contextlib.suppress(*_ENDED):
            await self._call.done_writing()

    async def read(self) -> bytes | None:
        """Returns the next answer; None after the last one of a call that succeeded.

        Raises HttpError with the status of one that failed.
        """
        try:
            answer = await self._call.read()
        except _ENDED:
            answer = grpc.aio.EOF
        if answer is grpc.aio.EOF:
            await self._end()
            return None
        message: bytes = answer
        return message

    async def _end(self) -> None:
        code = await self._call.code()
        trailing = dict(await self._call.trailing_metadata() or ())
        self.trailing = trailing
        if code is grpc.StatusCode.OK:
            return
        if self._is_late and code in _LATE and NAME_KEY not in trailing:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        text = await self._call.details() or ""
        if code is grpc.StatusCode.INTERNAL and text == _LOST:
            raise refused(
                UnavailableError(
                    "the daemon ended the call while the request was sent, and its reason was lost"
                    " on the way; send the request again"
                )
            )
        raise of_rpc(code, text, trailing)

    @property
    def _is_late(self) -> bool:
        return self._until is not None and asyncio.get_running_loop().time() >= self._until - _EARLY


class Upstream:
    """Connections to the daemon's socket, opened by the first calls."""

    def __init__(self, socket: Path) -> None:
        self._target = f"unix:{socket}"
        self._channels: dict[grpc.aio.Channel, int] = {}
        """Each channel with the number of its open calls."""

    async def close(self) -> None:
        """Closes all connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    @asynccontextmanager
    async def call(
        self, method: Method, until: float | None, metadata: Mapping[str, str] = _NONE
    ) -> AsyncGenerator[UpstreamCall, None]:
        """Opens a call, and cancels it if it has not ended when the context is left.

        `until`: its deadline, by the clock of the event loop.
        """
        left = None if until is None else max(0.0, until - asyncio.get_running_loop().time())
        channel = self._channel()
        self._channels[channel] += 1
        opened: Any = channel.stream_stream(method.path)  # without converters: bytes
        call = opened(timeout=left, metadata=tuple(metadata.items()))
        try:
            yield UpstreamCall(call, until)
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
