"""Failures of HTTP requests: their codes, statuses and bodies.

The form is that of the Connect protocol: a `code`, a `message`, and `details` with the answer of a
Clara service that reported the failure in its header. The header `Claraedge-Error` has the stable
name of the error; docs/errors.md lists all names.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from claraedge.errors import (
    HTTP_STATUS,
    NAME_KEY,
    CallTimeoutError,
    ClaraedgeError,
    InvalidRequestError,
    MessageSizeError,
    UnavailableError,
    kinds,
)
from claraedge.texts import shown

_log = logging.getLogger(__name__)

_UNKNOWN = grpc.StatusCode.UNKNOWN.name


#: HTTP statuses of errors that have another one than their code.
_OWN_STATUS = {kind.name: kind.http_status for kind in kinds() if kind.http_status}


class HttpError(Exception):
    """Ends a request with an HTTP status that is not 200, and a body that says why."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        name: str,
        status: int | None = None,
        answer: Message | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`code`: the name of a gRPC status. `answer`: the message that reported the failure.

        `status`: the HTTP status, if it is another than that of the code.
        """
        super().__init__(shown(message))
        self.code = code
        self.name = name
        self.status = status or _OWN_STATUS.get(name) or HTTP_STATUS[code]
        self.answer = answer
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The failure as a JSON object."""
        body: dict[str, Any] = {"code": connect_code(self.code), "message": str(self)}
        if self.answer is not None:
            value = base64.b64encode(self.answer.SerializeToString()).decode().rstrip("=")
            body["details"] = [
                {
                    "type": self.answer.DESCRIPTOR.full_name,
                    "value": value,
                    "debug": json_format.MessageToDict(self.answer),
                }
            ]
        return body

    @property
    def text(self) -> bytes:
        """The failure as JSON in one line, without the line's end."""
        return json.dumps(self.body, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class FailureAnswer:
    """The HTTP answer of a failure."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


#: Returns the answer of a failure.
FailureForm: TypeAlias = Callable[[HttpError], FailureAnswer]


def connect_form(failure: HttpError) -> FailureAnswer:
    """Returns a failure in the form of the Connect protocol."""
    return FailureAnswer(failure.status, failure.text)


def connect_code(code: str) -> str:
    """Returns the code of the Connect protocol for the name of a gRPC status."""
    return "canceled" if code == grpc.StatusCode.CANCELLED.name else code.lower()


def excerpt(text: str) -> str:
    """Returns the first characters of what a client sent, for messages and logs, as ASCII."""
    with contextlib.suppress(UnicodeError):
        text = text.encode("ascii", "backslashreplace").decode()
    return text[:200]


def failure_of(error: Exception, path: str) -> HttpError:
    """Returns the failure for any exception of a request to `path`; logs a bug."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, ClaraedgeError):
        return refused(error)
    _log.error("request failed: %s", excerpt(path), exc_info=error)
    return refused(
        ClaraedgeError(f"internal error: {error!r}; `journalctl -u claraedge` has the details")
    )


def refused(error: ClaraedgeError, status: int | None = None, **headers: str) -> HttpError:
    """Returns the failure that reports one of our errors.

    `status`: the HTTP status, if it is another than that of the error. `headers`: names with `_`
    for `-`.
    """
    return HttpError(
        error.status,
        str(error),
        name=error.name,
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def invalid(text: str, status: int | None = None, **headers: str) -> HttpError:
    """Returns the failure of a request that is not valid."""
    return refused(InvalidRequestError(text), status, **headers)


def too_large(limit: int) -> HttpError:
    """Returns the failure of a message above `limit` bytes."""
    return refused(
        MessageSizeError(
            f"a message has more than {limit} bytes, the most that is read; send large files as a"
            " stream of smaller messages, or with PUT"
        ),
        413,
    )


def too_late() -> HttpError:
    """Returns the failure of a request whose deadline is over."""
    return refused(
        CallTimeoutError("the deadline of the request is over; send it again with a later one")
    )


def of_rpc(code: grpc.StatusCode, text: str, trailing: Mapping[str, Any]) -> HttpError:
    """Returns the failure of a call that ended with a gRPC status."""
    name = trailing.get(NAME_KEY)
    if isinstance(name, str):
        return HttpError(code.name, text, name=name)
    if code is grpc.StatusCode.UNAVAILABLE:  # the daemon stops
        return refused(UnavailableError(f"the daemon does not answer ({text}); try again"))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return too_late()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # by gRPC itself
        return refused(MessageSizeError(text), 413)
    return HttpError(code.name, text, name=code.name.lower())


def of_answer(answer: Message) -> HttpError | None:
    """Returns the failure that the header of a Clara answer reports, or None.

    The gRPC status of such a call is OK; over HTTP a failure never has the status 200.
    """
    if "header" not in answer.DESCRIPTOR.fields_by_name:
        return None
    header: Any = getattr(answer, "header")  # noqa: B009 - the type of the message is not known
    code: int = getattr(header, "code", 0)
    if code >= 0:
        return None
    text = "\n".join(header.messages) or "the daemon refused without a message"
    kind = next((kind for kind in kinds() if kind.code == code), None)
    if kind is None:
        return HttpError(_UNKNOWN, text, name="unknown", answer=answer)
    return HttpError(kind.status, text, name=kind.name, answer=answer)
