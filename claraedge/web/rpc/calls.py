"""Calls of one gRPC service for HTTP requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from claraedge.web.http.deadlines import until
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.rpc.exchange import Exchange, once
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Calls:
    """Makes calls for requests."""

    service: str
    """`package.Service`"""
    methods: Mapping[str, Method]
    upstream: Upstream

    def of(self, name: str, request: Request, reply: Reply) -> Exchange:
        """Returns one call of a method, which ends with its request."""
        method = self.methods[f"/{self.service}/{name}"]
        return Exchange(self.upstream, method, request.body, reply, until(request.headers))

    async def one(
        self, name: str, message: Message, kind: type[M], request: Request, reply: Reply
    ) -> M:
        """Returns the answer of a unary method. Raises HttpError, ClientGoneError."""
        return kind.FromString(await self.of(name, request, reply).one(once(request, message)))

    async def early(self, name: str, message: Message, kind: type[M], request: Request) -> M:
        """Does the same as `one` before the body of the request is read. Raises HttpError.

        Until then a client that waits with its body (Expect: 100-continue) sends nothing.
        """
        method = self.methods[f"/{self.service}/{name}"]
        async with self.upstream.call(method, until(request.headers)) as call:
            await call.write(message.SerializeToString())
            await call.done_writing()
            answer = await call.read()
        return kind.FromString(answer or b"")
