"""Converts values of the daemon to values of the wire, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from google.protobuf.message import Message

from claraedge.errors import InvalidRequestError
from claraedge.ids import parse_id
from claraedge.wire.nvidia.clara.platform import common_pb2 as common

#: Seconds from 0001-01-01, the epoch of the wire, to 1970-01-01.
EPOCH = 62135596800

#: Maximum bytes of a message that is sent; the original clients refuse 4 MiB.
MAX_MESSAGE = 3_900_000

#: Bytes of file data in one message.
CHUNK = 1024 * 1024


def identifier(value: str) -> common.Identifier:
    """Converts an id to its message."""
    return common.Identifier(value=value)


def id_of(identifier: common.Identifier, what: str, error: type[InvalidRequestError]) -> str:
    """Returns the id of a request. Raises `error` if it is missing or malformed."""
    if not identifier.value:
        raise error(f"the request names no {what}; set its id")
    return parse_id(identifier.value, error)


def timestamp(seconds: float | None) -> common.Timestamp | None:
    """Converts Unix seconds to whole seconds since 0001-01-01; None leaves the field unset."""
    return None if seconds is None else common.Timestamp(value=int(seconds) + EPOCH)


def unix_seconds(timestamp: common.Timestamp) -> float:
    """Converts a time of the wire to Unix seconds."""
    return float(timestamp.value - EPOCH)


def old_time(seconds: float | None) -> str:
    """Formats Unix seconds in the deprecated string form of the API."""
    return "" if seconds is None else _formatted(int(seconds // 1))


@lru_cache(4096)
def _formatted(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def fill(message: Message, figures: Mapping[str, float | None], place: str) -> list[str]:
    """Sets the known figures of a message and leaves the others out.

    A figure that is left out reads as 0. Therefore the caller must add the returned texts,
    `PLACE.FIELD: unknown` for each such figure, to the messages of the header.
    """
    for field, value in figures.items():
        if value is not None:
            setattr(message, field, value)
    return [f"{place}.{field}: unknown" for field, value in figures.items() if value is None]
