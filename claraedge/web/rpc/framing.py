"""Forms of a stream of messages in an HTTP body: envelopes of the Connect protocol, and lines."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

from claraedge.web.http.body import inflated
from claraedge.web.http.failures import HttpError, invalid, too_large

_COMPRESSED, _END = 1, 2
_PREFIX = struct.Struct(">BI")


class Framing(Protocol):
    """Splits the body of a request into messages, and frames the messages of an answer."""

    streams_errors: bool
    """Whether a failure is always in the body, and the HTTP status is 200: Connect says so."""

    @property
    def kept(self) -> int:
        """Bytes of a message that is not complete."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the messages that `data` completes. Raises HttpError."""

    def finish(self) -> Iterator[bytes]:
        """Yields what the end of the body completes. Raises HttpError if a message is cut."""

    def frame(self, message: bytes) -> bytes:
        """Returns a message as part of a body."""

    def end(self, failure: HttpError | None) -> bytes:
        """Returns the end of a body."""


class Envelopes:
    """Messages with a prefix of five bytes: flags and length."""

    streams_errors = True

    def __init__(self, limit: int, *, gzip: bool) -> None:
        """`limit`: the most bytes of a message. `gzip`: whether messages may be compressed."""
        self._limit = limit
        self._gzip = gzip
        self._buffer = bytearray()

    @property
    def kept(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= _PREFIX.size:
            flags, length = _PREFIX.unpack_from(self._buffer)
            if length > self._limit:
                raise too_large(self._limit)
            if flags & ~_COMPRESSED or (flags and not self._gzip):
                raise invalid(
                    f"an envelope has the flags {flags}; a client may send 0, and 1 with the"
                    " header Connect-Content-Encoding: gzip"
                )
            end = _PREFIX.size + length
            if len(self._buffer) < end:
                return
            message = bytes(memoryview(self._buffer)[_PREFIX.size : end])
            del self._buffer[:end]
            yield inflated(message, self._limit) if flags else message

    def finish(self) -> Iterator[bytes]:
        if self._buffer:
            raise invalid("the body ends within an envelope; send the request again")
        yield from ()

    def frame(self, message: bytes) -> bytes:
        return _PREFIX.pack(0, len(message)) + message

    def end(self, failure: HttpError | None) -> bytes:
        content = b"{}" if failure is None else b'{"error":' + failure.text + b"}"
        return _PREFIX.pack(_END, len(content)) + content


class Lines:
    """JSON with a message on each line (NDJSON)."""

    streams_errors = False

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    @property
    def kept(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(memoryview(self._buffer)[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            yield from self._checked(line)
        self._searched = len(self._buffer)
        if self._searched > self._limit:
            raise too_large(self._limit)

    def finish(self) -> Iterator[bytes]:
        yield from self._checked(bytes(self._buffer))

    def _checked(self, line: bytes) -> Iterator[bytes]:
        if len(line) > self._limit:
            raise too_large(self._limit)
        if line.strip():
            yield line

    def frame(self, message: bytes) -> bytes:
        return message + b"\n"

    def end(self, failure: HttpError | None) -> bytes:
        if failure is None:
            return b""
        return b'{"error":' + failure.text + b"}\n"


class OneMessage(Lines):
    """One message, which is the whole body and may have line ends; answers are lines."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        if len(self._buffer) > self._limit:
            raise too_large(self._limit)
        yield from ()

    def finish(self) -> Iterator[bytes]:
        yield bytes(self._buffer)
