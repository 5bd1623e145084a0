"""Creates trees that are deeper, or have longer paths, than programs expect."""

from __future__ import annotations

import os
from pathlib import Path


def chain(top: Path, name: str, levels: int) -> Path:
    """Creates `levels` nested folders below `top`, with a file of one byte next to each."""
    top.mkdir(parents=True)
    inner = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=inner))
        os.truncate(f"/proc/self/fd/{inner}/file", 1)
        os.mkdir(name, dir_fd=inner)
        outer, inner = inner, os.open(name, os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    return top
