"""The base class of all errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

#: The trailing metadata of gRPC, and the header of HTTP, that has the name of an error.
NAME_KEY = "claraedge-error"
#: HTTP status of each gRPC status; those of the Connect protocol.
HTTP_STATUS: Mapping[str, int] = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


class ClaraedgeError(Exception):
    """The base class of all errors. If an answer has this error itself, the daemon has a bug.

    To do: report the bug, with what the journal shows (`journalctl -u claraedge`).
    """

    name: ClassVar[str] = "internal"
    code: ClassVar[int] = -0x5000
    status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int | None] = None
    """The HTTP status, if it is another than that of `status`."""

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages: tuple[str, ...] = messages


def http_status_of(kind: type[ClaraedgeError]) -> int:
    """Returns the HTTP status of an error."""
    return HTTP_STATUS[kind.status] if kind.http_status is None else kind.http_status


def kinds(root: type[ClaraedgeError] = ClaraedgeError) -> Iterator[type[ClaraedgeError]]:
    """Yields the classes of all errors that a daemon may answer with, without `root`."""
    for kind in root.__subclasses__():
        if kind.__module__.startswith(__package__):
            yield kind
            yield from kinds(kind)
