"""The gRPC channel to a daemon, and the translation of its errors."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import grpc

from claraedge import __version__
from claraedge.client.credentials import credentials
from claraedge.client.target import TLS, find_target, why_unreachable
from claraedge.errors import NAME_KEY, ClaraedgeError, NotSupportedError, UnavailableError, kinds
from claraedge.wire.nvidia.clara.platform.common_pb2 import RequestHeader, ResponseHeader, Version

Q = TypeVar("Q")
R = TypeVar("R")

#: The header of every request that has one.
HEADER = RequestHeader(
    api_version=Version(major=0, minor=8, patch=1), user_agent=f"claraedge/{__version__}"
)

#: Seconds for a unary call. It is long because Cancel answers only when the containers have ended.
_UNARY_TIMEOUT = 300.0

# `send` raises the error of a failed source of an upload; gRPC would print it as well.
logging.getLogger("grpc").addHandler(logging.NullHandler())


class AnsweredError(ClaraedgeError):
    """The daemon refused with an error that this version of the client does not know."""

    name = "answered"

    def __init__(self, answered: int | str, *messages: str) -> None:
        super().__init__(
            *(
                messages
                or (
                    f"the daemon refused without a message ({answered}): see `journalctl -u"
                    " claraedge`",
                )
            )
        )
        self.answered = answered


class Connection:
    """A channel to a daemon. Use it as a context manager; it connects at the first call."""

    def __init__(self, target: str) -> None:
        """Raises InvalidRequestError if the credentials for TLS cannot be read."""
        self.target = target
        options = [("grpc.enable_http_proxy", 0)]
        if target.startswith(TLS):
            address, shown = target.removeprefix(TLS), credentials(os.environ)
            self._channel = grpc.secure_channel(address, shown, options=options)
        else:
            self._channel = grpc.insecure_channel(target, options=options)

    @property
    def channel(self) -> grpc.Channel:
        """The channel for gRPC stubs."""
        return self._channel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def unary(
        self,
        method: grpc.UnaryUnaryMultiCallable[Q, R],
        request: Q,
        timeout: float = _UNARY_TIMEOUT,
    ) -> R:
        """Returns the answer of a unary call.

        Raises the error of the daemon, or UnavailableError, also after `timeout` seconds.
        """
        try:
            return _checked(method(request, timeout=timeout))
        except grpc.RpcError as error:
            self.fail(error)

    def stream(self, method: grpc.UnaryStreamMultiCallable[Q, R], request: Q) -> Iterator[R]:
        """Yields the answers as they arrive; cancels the call if the caller stops reading.

        Raises the error of the daemon, or UnavailableError.
        """
        call = method(request)
        try:
            for reply in call:
                yield _checked(reply)
        except grpc.RpcError as error:
            self.fail(error)
        finally:
            call.cancel()

    def send(self, method: grpc.StreamUnaryMultiCallable[Q, R], requests: Iterator[Q]) -> R:
        """Sends all of `requests` and returns the answer.

        An error that `requests` raises itself ends the call and is raised here. Raises the error of
        the daemon, or UnavailableError.
        """
        failures: list[Exception] = []

        def source() -> Iterator[Q]:
            try:
                yield from requests
            except (OSError, ClaraedgeError) as error:
                failures.append(error)
                raise  # gRPC then cancels the call, so that the daemon stores nothing

        try:
            return _checked(method(source()))
        except grpc.RpcError as error:
            if failures:
                raise failures[0] from None
            self.fail(error)

    def fail(self, error: grpc.RpcError) -> NoReturn:
        """Raises the error of claraedge that corresponds to an error of gRPC.

        That is the error of the daemon, UnavailableError if it does not answer,
        NotSupportedError if it does not know the call, and otherwise AnsweredError.
        """
        assert isinstance(error, grpc.Call)
        details = error.details() or ""
        names = [v for k, v in error.trailing_metadata() or () if k == NAME_KEY]
        for kind in kinds():
            if kind.name in names:
                raise kind(*details.split("\n")) from error
        match error.code():
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:  # CANCELLED: it stops
                raise UnavailableError(why_unreachable(self.target)) from error
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                raise UnavailableError(
                    f"the daemon at {self.target} took too long to answer: see `claraedge status`"
                    " and `journalctl -u claraedge`"
                ) from error
            case grpc.StatusCode.UNIMPLEMENTED:
                raise NotSupportedError(
                    f"the daemon at {self.target} does not know this call ({details}); use a"
                    " `claraedge` of the daemon's version"
                ) from error
        raise AnsweredError(error.code().name, details) from error


def connect(host: str | None = None) -> Connection:
    """Returns a connection to `host`, or to the daemon that `find_target` finds.

    Raises InvalidRequestError if `host` is not a valid target, or its credentials cannot be read.
    """
    return Connection(find_target(host, os.environ, os.geteuid()))


def _checked(reply: R) -> R:
    header = getattr(reply, "header", None)
    if isinstance(header, ResponseHeader) and header.code < 0:
        for kind in kinds():
            if kind.code == header.code and header.messages:
                raise kind(*header.messages)
        raise AnsweredError(header.code, *header.messages)
    return reply
