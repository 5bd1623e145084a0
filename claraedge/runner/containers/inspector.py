"""Containers as they are now: what Podman says of them, put right by what the kernel shows.

Podman learns of an exit some milliseconds late, and never where the supervisor is dead; a memory
kill stands in the container's slice alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from claraedge.errors import RunnerUnavailableError
from claraedge.runner.container_states import (
    State,
    labels_filter,
    read_half_made,
    read_list,
    read_state,
)
from claraedge.runner.processes import alive
from claraedge.runner.protocol import Container, Phase
from claraedge.runner.service.service import PodmanService
from claraedge.runner.workarounds.slices import Slices

_TIMEOUT = 20.0
#: How long a service that does not come back is waited for, and the pause between two looks.
_OUTAGE, _OUTAGE_PAUSE = 60.0, 0.5
#: How long the exit code may stay away after the process ended: without, and with, a supervisor.
_CODE_ALONE, _CODE_SUPERVISED = 2.0, 30.0
#: The first pause between two looks for it, and the longest.
_POLL = (0.002, 0.05)


class UnshownError(RunnerUnavailableError):
    """Podman answers, but not what a container is like."""


class Inspector:
    """Tells what containers are like."""

    def __init__(self, service: PodmanService, slices: Slices) -> None:
        self._service = service
        self._slices = slices

    async def state(self, container: str) -> State | None:
        """One container; None where there is none.

        Raises UnshownError, and RunnerUnavailableError as each of these.
        """
        body = await self.inspected(container)
        state = None if body is None else read_state(body)
        if (
            state is not None
            and state.exit is not None
            and state.exit.code != 0
            and self._slices.killed(state.slice)
        ):
            return replace(state, exit=replace(state.exit, out_of_memory=True))
        return state

    async def state_in_outage(self, container: str) -> State | None:
        """The same; a service that is down is waited for: an exit must not be lost to that."""
        deadline = time.monotonic() + _OUTAGE
        while True:
            try:
                return await self.state(container)
            except RunnerUnavailableError:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_OUTAGE_PAUSE)

    async def settled(self, container: str) -> State | None:
        """The state after the process has ended: Podman learns of it some milliseconds later.

        Still RUNNING only where nobody is left to say: the supervisor is dead, or hangs.
        """
        began = time.monotonic()
        pause = _POLL[0]
        while True:
            state = await self.state_in_outage(container)
            if state is None or state.phase is not Phase.RUNNING or alive(state.pid, container):
                return state
            supervised = alive(state.conmon, container, supervisor=True)
            limit = _CODE_SUPERVISED if supervised else _CODE_ALONE
            if time.monotonic() - began > limit:
                return state
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _POLL[1])

    async def inspected(self, container: str) -> bytes | None:
        """The answer of `GET /containers/{id}/json`; None where there is no such container."""
        response = await self._service.request(
            "GET", f"/containers/{container}/json", timeout=_TIMEOUT, repeatable=True
        )
        # The second: Podman died in the middle of its removal, and its storage is gone.
        if response.status == 404 or response.cause == "container not known":
            return None
        if not response.ok:
            raise UnshownError(f"Podman does not show container {container}: {response.reason}")
        return response.body

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Container]:
        """As Runner.containers."""
        body = await self._listed({"filters": labels_filter(labels)} if labels else {})
        return [
            await self._without_process(container)
            if container.phase is Phase.RUNNING and not alive(pid, container.id)
            else container
            for container, pid in read_list(body)
        ]

    async def half_made(self, prefix: str) -> Sequence[str]:
        """As Runner.half_made."""
        names = msgspec.json.encode({"name": [f"^{prefix}"]}).decode()
        body = await self._listed({"external": "true", "filters": names})
        return read_half_made(body, prefix)

    async def _listed(self, query: Mapping[str, str]) -> bytes:
        response = await self._service.request(
            "GET", "/containers/json", query={"all": "true", **query}, repeatable=True
        )
        if not response.ok:
            raise RunnerUnavailableError(f"Podman does not list containers: {response.reason}")
        return response.body

    async def _without_process(self, container: Container) -> Container:
        """What a container is whose process is gone though Podman calls it running."""
        state = await self.settled(container.id)
        whole = state is not None and not lost(state, container.id)
        return replace(
            container,
            phase=state.phase if state and whole else Phase.INTERRUPTED,
            exit_code=state.exit.code if state and state.exit else None,
        )


def lost(state: State | None, container: str) -> bool:
    """Whether Podman calls it running though its process has ended."""
    return state is not None and state.phase is Phase.RUNNING and not alive(state.pid, container)
