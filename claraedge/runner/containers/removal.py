"""Removes a container: its processes, Podman's record of it, and what Podman lost track of."""

from __future__ import annotations

import asyncio

from claraedge.errors import ContainerError
from claraedge.runner.containers.inspector import Inspector, UnshownError
from claraedge.runner.host import Host
from claraedge.runner.processes import watched
from claraedge.runner.protocol import Phase
from claraedge.runner.service.answers import removal_error
from claraedge.runner.service.service import PodmanService
from claraedge.runner.workarounds import conmon, leases, remains
from claraedge.runner.workarounds.slices import Slices

#: Seconds before the removal is tried again.
_PAUSE = 0.05


class Removal:
    """Removes containers."""

    def __init__(
        self, service: PodmanService, host: Host, inspector: Inspector, slices: Slices
    ) -> None:
        self._service = service
        self._host = host
        self._inspector = inspector
        self._slices = slices

    async def remove(self, container: str) -> None:
        """Implements Runner.remove. Raises ContainerError where Podman refuses twice."""
        try:
            state = await self._inspector.state(container)
        except UnshownError:  # then its removal shows more
            state = None
        if state is None or (not state.pid and state.phase is not Phase.STOPPED):
            await remains.end_unknown(container)
            await leases.free(container)
        pid = state.conmon if state else 0
        pid_files = self._host.pid_files
        if pid == 0 and pid_files is not None:  # Podman reports it only while the container runs
            pid = pid_files.supervisor(container)
        with watched(pid, container, supervisor=True) as supervisor:
            if state is not None:
                # When Podman is killed during a stop, it forgets the container but leaves its
                # process running.
                with watched(state.pid, container) as process:
                    if process is not None:
                        process.kill()
            await self._delete(container)
            if supervisor is not None:
                await conmon.end(supervisor, pid, container)
        await remains.clear(container)
        self._slices.free(container)

    async def _delete(self, container: str) -> None:
        for attempt in (1, 2):
            response = await self._service.request(
                "DELETE",
                f"/containers/{container}",
                query={"force": "true", "timeout": "0", "v": "true"},
                repeatable=True,
            )
            if response.status == 404 or (response.ok and not removal_error(response)):
                return
            # Podman refuses once where the process died without a supervisor; the second try works.
            if attempt == 1:
                await asyncio.sleep(_PAUSE)
        reason = removal_error(response) if response.ok else response.reason
        raise ContainerError(
            f"container {container} could not be removed: {reason}; `podman rm --force "
            f"{container[:12]}` as this user may say more"
        )
