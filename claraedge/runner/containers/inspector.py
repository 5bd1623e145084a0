"""The current state of containers: Podman's view, corrected by what the kernel shows.

Podman learns of an exit some milliseconds late, and never where the supervisor is dead; an
out-of-memory kill is recorded only in the container's slice.
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
from claraedge.waiting.backoff import Backoff

_TIMEOUT = 20.0  # seconds
#: Seconds to wait for a service that is down, and the pause between two tries.
_OUTAGE, _OUTAGE_PAUSE = 60.0, 0.5
#: Seconds to wait for the exit code after the process ended: without, and with, a supervisor.
_CODE_ALONE, _CODE_SUPERVISED = 2.0, 30.0
#: Seconds between two tries to read it: the first pause, and the longest.
_POLL = (0.002, 0.05)


class UnshownError(RunnerUnavailableError):
    """Podman answers, but cannot show the state of a container."""


class Inspector:
    """Reads the state of containers."""

    def __init__(self, service: PodmanService, slices: Slices) -> None:
        self._service = service
        self._slices = slices

    async def state(self, container: str) -> State | None:
        """Returns the state of one container; None where it does not exist.

        Raises UnshownError where Podman cannot show it, and RunnerUnavailableError where it does
        not answer.
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
        """Returns the same, but waits for a service that is down, so that an exit is not lost to an
        outage. Raises RunnerUnavailableError after `_OUTAGE` seconds.
        """
        deadline = time.monotonic() + _OUTAGE
        while True:
            try:
                return await self.state(container)
            except RunnerUnavailableError:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_OUTAGE_PAUSE)

    async def settled(self, container: str) -> State | None:
        """Returns the state once Podman has noticed the exit, some milliseconds after the process
        ended.

        It is RUNNING only where the process still runs, or where nobody can report the exit: the
        supervisor is dead, or hangs.
        """
        began = time.monotonic()
        pauses = Backoff(*_POLL, factor=1.5)
        while True:
            state = await self.state_in_outage(container)
            if state is None or state.phase is not Phase.RUNNING or alive(state.pid, container):
                return state
            supervised = alive(state.conmon, container, supervisor=True)
            limit = _CODE_SUPERVISED if supervised else _CODE_ALONE
            if time.monotonic() - began > limit:
                return state
            await asyncio.sleep(pauses.next())

    async def inspected(self, container: str) -> bytes | None:
        """Returns the answer of `GET /containers/{id}/json`; None where there is no
        such container.

        Raises UnshownError if Podman refuses to answer.
        """
        response = await self._service.request(
            "GET", f"/containers/{container}/json", timeout=_TIMEOUT, repeatable=True
        )
        # The second condition: Podman died during the removal, and the container's storage is gone.
        if response.status == 404 or response.cause == "container not known":
            return None
        if not response.ok:
            raise UnshownError(f"Podman does not show container {container}: {response.reason}")
        return response.body

    async def containers(self, labels: Mapping[str, str]) -> Sequence[Container]:
        """Implements Runner.containers."""
        body = await self._listed({"filters": labels_filter(labels)} if labels else {})
        return [
            await self._without_process(container)
            if container.phase is Phase.RUNNING and not alive(pid, container.id)
            else container
            for container, pid in read_list(body)
        ]

    async def half_made(self, prefix: str) -> Sequence[str]:
        """Implements Runner.half_made."""
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
        """Returns the real state of a container that Podman calls running although its process has
        ended.
        """
        state = await self.settled(container.id)
        whole = state is not None and not lost(state, container.id)
        return replace(
            container,
            phase=state.phase if state and whole else Phase.INTERRUPTED,
            exit_code=state.exit.code if state and state.exit else None,
        )


def lost(state: State | None, container: str) -> bool:
    """Whether Podman reports the container as running although its process has ended."""
    return state is not None and state.phase is Phase.RUNNING and not alive(state.pid, container)
