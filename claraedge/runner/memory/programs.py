"""Programs of in-memory images, and the functions they use: host folders and the
container's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from claraedge.clock import rfc3339
from claraedge.runner.protocol import ContainerSpec

#: Runs in place of an image and returns its exit code. `stop` cancels it, as TERM ends a process.
Program: TypeAlias = Callable[[ContainerSpec], Awaitable[int]]

#: Serves a connection to a container; gets the streams of its side.
Handler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def host_path(spec: ContainerSpec, path: str) -> Path:
    """Returns the place on the host of a path in the container; the longest mount target wins.

    Raises LookupError where no mount contains it: a program of MemoryRunner has no root of its own.
    """
    inside = PurePosixPath(path)
    mounts = sorted(spec.mounts, key=lambda mount: len(mount.target), reverse=True)
    for mount in mounts:
        if inside.is_relative_to(mount.target):
            return mount.source / inside.relative_to(mount.target)
    raise LookupError(f"{path} lies in no mount of {spec.name}")


def write_log(spec: ContainerSpec, text: str, *, stream: str = "stdout", now: float = 0.0) -> None:
    """Appends whole lines to the container's log, in conmon's k8s-file format. `now` is in Unix
    seconds.
    """
    time = rfc3339(now)
    with spec.log_path.open("a", encoding="utf-8") as file:
        file.writelines(f"{time} {stream} F {line}\n" for line in text.splitlines())
