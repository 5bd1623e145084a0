"""A payload and its files, as values."""

from __future__ import annotations

import enum
import hashlib
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


def etag_of(payload: str, file: PayloadFile) -> str:
    """Returns a text that differs between any two contents of a file: its strong validator.

    Blobs never change, and their names are never used again.
    """
    identity = b"\0".join((payload.encode(), file.blob, str(file.size).encode()))
    return hashlib.sha256(identity).hexdigest()[:32]


def input_prefix(kind: PayloadType) -> str:
    """Returns what the names of all files begin with that clients store in a payload.

    Source: Clara 0.8.1, Payloads Upload: a job's payload keeps them below `input/`.
    """
    return "input/" if kind is PayloadType.PIPELINE else ""


def stored_mode(mode: int) -> int:
    """Returns the mode that is stored and reported for the one that a client sent; 0 means 0644."""
    return 0o644 if mode == 0 else mode & 0o777 | 0o400
