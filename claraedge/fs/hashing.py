"""Digests of file contents, also of files with large holes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.fs.files import opened_file

_BLOCK = 1024 * 1024
#: Most bytes of holes in a file that is read as a whole: a terabyte of holes would need an hour.
_HOLES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The digest of a file's content."""

    sha256: str | None
    """Hexadecimal; None for a file with large holes, which is not read as a whole."""
    identity: str
    """Equal for equal content; files with large holes are equal only if their holes are, too."""


def digest(path: Path, flag: CancelFlag | None = None) -> Digest:
    """Computes the digest of a regular file. Blocking; follows no link, and waits for no pipe.

    Raises OSError, also for anything but a regular file.
    """
    with opened_file(path) as descriptor:
        return digest_of_open(descriptor, flag)


def digest_of_open(descriptor: int, flag: CancelFlag | None = None) -> Digest:
    """Computes the digest of an open file, from its beginning. Blocking."""
    status = os.fstat(descriptor)
    if status.st_size - status.st_blocks * 512 > _HOLES:
        return Digest(sha256=None, identity=_of_data(descriptor, status.st_size, flag))
    found = hashlib.sha256()
    for block in _blocks(descriptor, 0, status.st_size, flag):
        found.update(block)
    return Digest(sha256=found.hexdigest(), identity=found.hexdigest())


def _of_data(descriptor: int, size: int, flag: CancelFlag | None) -> str:
    found = hashlib.sha256(b"%d" % size)
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return f"sparse-{found.hexdigest()}"
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        found.update(b"\0%d-%d\0" % (start, end))
        for block in _blocks(descriptor, start, end, flag):
            found.update(block)


def _blocks(descriptor: int, start: int, end: int, flag: CancelFlag | None) -> Iterator[bytes]:
    """Yields the bytes from `start` to `end`; fewer where the file is truncated meanwhile."""
    while start < end and (block := os.pread(descriptor, min(_BLOCK, end - start), start)):
        if flag is not None:
            flag.check()
        yield block
        start += len(block)
