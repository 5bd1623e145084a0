"""A payload and its files, as values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class PayloadType(enum.IntEnum):
    """The type of a payload; the numbers are those of the wire."""

    PIPELINE = 1
    """Created with a job; contains its inputs and outputs."""
    REUSABLE = 2
    """Independent of jobs; its files are copied into jobs that name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadFile:
    """One file of a payload."""

    name: str
    """The name, relative to the payload's root, without a leading slash."""
    size: int
    """Size in bytes."""
    mode: int
    """Permission bits, as reported to clients."""
    blob: bytes
    """The path of the content, relative to the payload's folder."""
    sha256: str | None = None
    """SHA-256 of the content in hex, where it was computed when the file arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A payload with all that Details reports."""

    id: str
    type: PayloadType
    sealed: bool
    job: str | None = None
    files: tuple[PayloadFile, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def stored_mode(mode: int) -> int:
    """Returns the mode that is stored and reported for the one that a client sent; 0 means 0644."""
    return 0o644 if mode == 0 else mode & 0o777 | 0o400
