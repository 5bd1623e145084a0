"""Whose a process is: the operator of a job, by the container that it runs in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from claraedge.store.database import Transaction

#: An id of Podman's.
_CONTAINER = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Operator:
    """A running operator."""

    job: str
    name: str


def operators(tx: Transaction) -> Mapping[str, Operator]:
    """Container id -> operator, of all operators that run."""
    return {
        row["container"]: Operator(row["job"], row["name"])
        for row in tx.rows("operator_containers")
    }


def users(
    pids: Iterable[int], running: Mapping[str, Operator], proc: Path = Path("/proc")
) -> tuple[Operator, ...]:
    """The operators that the processes belong to, each once, in order; others are left out."""
    found = {
        running[container]
        for pid in pids
        for container in _containers(proc / str(pid))
        if container in running
    }
    return tuple(sorted(found))


def _containers(process: Path) -> Iterator[str]:
    """The ids of containers that the process is in: by its cgroup, and by its mounts.

    Without a cgroup of its own, as on a machine without systemd, the mounts that Podman gives each
    container (its hosts file and the like) come from a folder of the container's id. Only that
    source counts: where a mount goes to, other processes of the user see as well.
    """
    for match in _CONTAINER.finditer(_read(process / "cgroup")):
        yield match.group().decode("ascii")
    for line in _read(process / "mountinfo").splitlines():
        source = line.split(b" ", 4)[3:4]  # proc_pid_mountinfo(5): the root within its file system
        for match in _CONTAINER.finditer(source[0] if source else b""):
            yield match.group().decode("ascii")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is none of ours
        return b""
