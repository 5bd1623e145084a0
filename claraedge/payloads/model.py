"""A payload and its files, as values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class PayloadType(enum.IntEnum):
    """Numbers of the wire."""

    PIPELINE = 1
    """Made with a job, holds its inputs and outputs."""
    REUSABLE = 2
    """Lives by itself; its files are copied into jobs that name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadFile:
    """One file of a payload."""

    name: str
    """Relative to the payload's root, without a leading slash."""
    size: int
    """Bytes."""
    mode: int
    """Permission bits, as reported to clients."""
    blob: bytes
    """Where the bytes are, relative to the payload's folder."""
    sha256: str | None = None
    """Of the bytes, hex, where it was taken when they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A payload with all that Details tells of it."""

    id: str
    type: PayloadType
    sealed: bool
    job: str | None = None
    files: tuple[PayloadFile, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def stored_mode(mode: int) -> int:
    """The mode that is kept and reported for the one that a client sent; 0 means 0644."""
    return 0o644 if mode == 0 else mode & 0o777 | 0o400
