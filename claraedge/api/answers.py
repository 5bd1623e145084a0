"""Builds the answers of calls: headers of successes, and errors.

The Clara services return errors in the header of the response with gRPC status OK, as the original
does. The services of claraedge itself have no header; they return the gRPC status of the error, and
its stable name in the trailing metadata `claraedge-error`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import Message

from claraedge.errors import (
    NAME_KEY,
    CallTimeoutError,
    ClaraedgeError,
    NotSupportedError,
    StateFolderError,
    StorageFullError,
    StreamMemoryError,
)
from claraedge.texts import shown
from claraedge.wire.nvidia.clara.platform import common_pb2 as common

_log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

#: Length limit of one error message, in characters.
MAX_TEXT = 8192
#: Bytes of the text of a gRPC status. It is sent in a header, which may have 8 KiB, and each byte
#: that is not ASCII needs three bytes there.
_MAX_DETAILS = 2048

#: Errors of the call itself: every service returns them as a gRPC status.
_BY_STATUS = (NotSupportedError, StreamMemoryError)


def ok(*warnings: str) -> common.ResponseHeader:
    """Returns the header of a success; the original clients ignore its messages."""
    return common.ResponseHeader(code=0, messages=warnings)


def failure(error: ClaraedgeError) -> common.ResponseHeader:
    """Returns the header of an error: its code, and at least one message."""
    messages = [shown(text[:MAX_TEXT]) for text in error.messages] or [error.name]
    return common.ResponseHeader(code=error.code, messages=messages)


async def answer_of(
    error: Exception, response: type[Message], context: Context, *, may_answer: bool = True
) -> Message:
    """Returns the message that reports an error in its header, or aborts with a gRPC status.

    It aborts if the response has no header, if the error belongs to the call itself, or if
    `may_answer` is false because messages were sent already: the original clients read only the
    header of the first message of a stream, and half a file must not pass for a whole one. Raises
    CallTimeoutError and grpc.aio.AbortError again.
    """
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, CallTimeoutError):
        raise error
    known = error if isinstance(error, ClaraedgeError) else _unforeseen(error)
    with_header = "header" in response.DESCRIPTOR.fields_by_name
    if isinstance(known, _BY_STATUS) or not with_header or not may_answer:
        await abort(context, known)
    return response(header=failure(known))


def status_of(error: Exception) -> str:
    """Returns the name of the gRPC status of an error."""
    return error.status if isinstance(error, ClaraedgeError) else _kind_of(error).status


def _kind_of(error: Exception) -> type[ClaraedgeError]:
    """Returns which error of ours an unexpected exception is reported as."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError
    return StateFolderError if _is_of_a_disk(error) else ClaraedgeError


def _unforeseen(error: Exception) -> ClaraedgeError:
    kind = _kind_of(error)
    if kind is StorageFullError:
        return StorageFullError(
            f"{getattr(error, 'filename', None) or 'a disk of the daemon'}: the disk is full; free"
            " some space there (see `claraedge status`) and try again"
        )
    if kind is StateFolderError:
        _log.error("call failed: a disk does not work: %s", error)
        return StateFolderError(
            f"a disk of the daemon fails ({error}): `sudo dmesg` on its machine says why; check"
            " that disk, mount it for writing, and start the daemon again"
        )
    _log.error("call failed", exc_info=error)
    return ClaraedgeError(f"internal error: {error!r}; `journalctl -u claraedge` has the details")


def _is_of_a_disk(error: Exception) -> bool:
    """Returns whether an error means a failed disk, which the kernel may have made read-only."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)  # Python's own errors have none
        return code is not None and code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
    return isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EIO)


async def abort(context: Context, error: ClaraedgeError) -> NoReturn:
    """Ends a call with the gRPC status of an error, and its name in the trailing metadata.

    Raises CancelledError if the client has disconnected.
    """
    try:
        await context.abort(
            grpc.StatusCode[error.status],
            shown(str(error)).encode()[:_MAX_DETAILS].decode("utf-8", "ignore"),
            trailing_metadata=((NAME_KEY, error.name),),
        )
    except (grpc.aio.InternalError, grpc.aio.UsageError) as gone:
        # The client disconnected meanwhile: no one receives the status, and the call did not fail.
        raise asyncio.CancelledError from gone
    raise AssertionError("abort always raises")
