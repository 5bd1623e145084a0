"""Joins the network namespace of another container, which is initialised and never started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from claraedge.errors import ContainerError
from claraedge.runner.container_states import read_holder
from claraedge.runner.containers.inspector import Inspector
from claraedge.runner.processes import Process, watched
from claraedge.runner.protocol import BindMount, ContainerSpec


class JoinedNetns:
    """The network namespace that a container is created in, while it is created."""

    def __init__(self, pid: int, files: tuple[BindMount, ...], process: Process) -> None:
        self.pid = pid
        self.files = files
        """Files that say how names are resolved in it."""
        self._process = process

    @property
    def gone(self) -> bool:
        """Whether its process has ended: the pid may be that of another one by now."""
        return self._process.gone


@asynccontextmanager
async def joined(inspector: Inspector, spec: ContainerSpec) -> AsyncIterator[JoinedNetns | None]:
    """Yields the namespace that the container is to join; None where it joins none.

    Raises ContainerError where that container holds no namespace, and RunnerUnavailableError.
    """
    if not spec.joins:
        yield None
        return
    body = await inspector.inspected(spec.joins)
    found = None if body is None else read_holder(body)
    pid = found.state.pid if found is not None and found.state.holds else 0
    with watched(pid, spec.joins) as process:
        if found is None or process is None:
            raise not_joined(spec)
        # Podman gives a container in a foreign namespace the resolvers of the machine, which it may
        # not reach from there.
        places = {"/etc/resolv.conf": found.resolv, "/etc/hosts": found.hosts}
        files = tuple(
            BindMount(source=Path(source), target=target, read_only=True)
            for target, source in places.items()
            if source
        )
        yield JoinedNetns(pid, files, process)


def not_joined(spec: ContainerSpec) -> ContainerError:
    """Returns the error for a container whose namespace is gone."""
    return ContainerError(
        f"container {spec.name} cannot join the network of container {spec.joins[:12]}, which has"
        " ended; create that one again"
    )
