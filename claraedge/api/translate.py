"""Values of the daemon as values of the wire, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.message import Message

from claraedge.errors import InvalidRequestError
from claraedge.ids import parse_id
from claraedge.wire.nvidia.clara.platform import common_pb2 as common

#: Seconds from 0001-01-01 to 1970-01-01: the wire counts from the former.
EPOCH = 62135596800

#: No message above this size is sent; the original clients refuse 4 MiB.
MAX_MESSAGE = 3_900_000

#: Bytes of file data in one message.
CHUNK = 1024 * 1024


def identifier(value: str) -> common.Identifier:
    return common.Identifier(value=value)


def id_of(identifier: common.Identifier, what: str, error: type[InvalidRequestError]) -> str:
    """The id of a request; `error` where it is missing or malformed."""
    if not identifier.value:
        raise error(f"the request names no {what}; set its id")
    return parse_id(identifier.value, error)


def timestamp(seconds: float | None) -> common.Timestamp | None:
    """Whole seconds since 0001-01-01, or None, which leaves the field unset."""
    return None if seconds is None else common.Timestamp(value=int(seconds) + EPOCH)


def unix_seconds(timestamp: common.Timestamp) -> float:
    return float(timestamp.value - EPOCH)


def old_time(seconds: float | None) -> str:
    """The deprecated string form."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def fill(message: Message, figures: Mapping[str, float | None], place: str) -> list[str]:
    """Sets the figures that are known and leaves the others out.

    One that is left out reads as 0. So the texts that come back belong into the header's messages:
    `PLACE.FIELD: unknown`, one a figure.
    """
    for field, value in figures.items():
        if value is not None:
            setattr(message, field, value)
    return [f"{place}.{field}: unknown" for field, value in figures.items() if value is None]
