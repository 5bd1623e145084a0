"""A request whose headers were read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from claraedge.web.http.body import Body
from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.http.headers import Headers
from claraedge.web.http.reply import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to a route."""

    method: str
    """`GET`"""
    path: str
    """The path as it was sent, with its percent-encoding, for messages."""
    parameters: Mapping[str, str]
    """The variables of the route's template."""
    query: Sequence[tuple[str, str]]
    """The fields after `?`, in the order in which they were sent."""
    raw_query: str
    """The query as it was sent, without `?`."""
    headers: Headers
    body: Body
    http_version: str
    """`1.0` or `1.1`"""
    scheme: str
    """`http`, or `https` with TLS."""
    caller: str
    """The address of the client, for logs; empty for one of the Unix socket."""

    def refuse_old(self) -> None:
        """Raises HttpError for HTTP/1.0, where the end of a body is that of the connection."""
        if self.http_version == "1.0":
            raise invalid(
                f"{excerpt(self.path)} streams, and HTTP/1.0 cannot tell a part of a stream from"
                " the whole; use HTTP/1.1",
                505,
            )


#: Answers a request. Raises HttpError, ClaraedgeError, ClientGoneError.
Endpoint: TypeAlias = Callable[[Request, Reply], Awaitable[None]]
