"""How much a tree takes, of any depth. What vanishes meanwhile, or may not be read, is nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from claraedge.fs.walking import Place, descend


def size(root: Path) -> int:
    """Bytes of all that is no folder, as `ls` shows them."""
    return sum(place.status.st_size for place in _files(root))


def allocated(root: Path) -> int:
    """Bytes of the disk, or of memory, that all that is no folder takes."""
    return sum(place.status.st_blocks * 512 for place in _files(root))


def size_alone(root: Path) -> int:
    """Bytes on the disk of what has no name outside `root`: what its removal gives back."""
    total = 0
    left: dict[tuple[int, int], int] = {}
    for place in _files(root):
        file = place.status.st_dev, place.status.st_ino
        left[file] = left.get(file, place.status.st_nlink) - 1
        if not left[file]:
            total += place.status.st_blocks * 512
    return total


def _files(root: Path) -> Iterator[Place]:
    with contextlib.suppress(FileNotFoundError):
        yield from (place for place in descend(root) if not place.is_folder)
