"""Finds the operator of a process, by the container that the process runs in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from claraedge.store.database import Transaction

#: A container id of Podman.
_CONTAINER = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class RunningOperator:
    """A running operator of a job."""

    job: str
    name: str


def operators(tx: Transaction) -> Mapping[str, RunningOperator]:
    """Returns container id -> operator, for all running operators."""
    return {
        row["container"]: RunningOperator(row["job"], row["name"])
        for row in tx.rows("operator_containers")
    }


def users(
    pids: Iterable[int], running: Mapping[str, RunningOperator], proc: Path = Path("/proc")
) -> tuple[RunningOperator, ...]:
    """Returns the operators that own the processes, each once, in order; other processes are
    ignored.
    """
    found = {
        running[container]
        for pid in pids
        for container in _containers(proc / str(pid))
        if container in running
    }
    return tuple(sorted(found))


def _containers(process: Path) -> Iterator[str]:
    """Yields the ids of the containers that the process is in, by its cgroup and its mounts.

    Without a cgroup of its own, as on a machine without systemd, the mounts that Podman gives each
    container (its hosts file and the like) come from a folder with the container's id. Only the
    source counts: other processes of the user see the target of a mount as well.
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
    except OSError:  # it has ended, or belongs to another user
        return b""
