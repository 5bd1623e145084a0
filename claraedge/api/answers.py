"""What calls are answered: headers of successes, and errors.

The Clara services answer errors in their header with gRPC status OK, as the original does. The
services of claraedge itself have no header; they answer the gRPC status that stands for the error,
and its stable name in the trailing metadata `claraedge-error`.
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

#: Longest text of one error message, in characters.
MAX_TEXT = 8192
#: Bytes of the text beside a gRPC status. It travels in a header, which takes 8 KiB, and there a
#: byte that is not ASCII takes three.
_MAX_DETAILS = 2048

#: Errors of the call itself: every service answers them by their gRPC status.
_BY_STATUS = (NotSupportedError, StreamMemoryError)


def ok(*warnings: str) -> common.ResponseHeader:
    """The header of a success; the original's clients leave its messages unread."""
    return common.ResponseHeader(code=0, messages=warnings)


def failure(error: ClaraedgeError) -> common.ResponseHeader:
    """The header of an error: its code, and messages that are never empty."""
    messages = [shown(text[:MAX_TEXT]) for text in error.messages] or [error.name]
    return common.ResponseHeader(code=error.code, messages=messages)


async def answer_of(
    error: Exception, response: type[Message], context: Context, *, may_answer: bool = True
) -> Message:
    """The message that says so; else, where no client would look at its header, the gRPC status.

    The original's clients read the header of a stream's first message only: half a file must not
    pass for a whole one.
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


async def abort(context: Context, error: ClaraedgeError) -> NoReturn:
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
