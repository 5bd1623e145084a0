"""Detects the exits of containers by pidfd on the event loop; the code comes from conmon or Podman.

Nothing here attaches to a container: attaching to one that has just ended runs it again.
"""

from __future__ import annotations

import asyncio
import logging

from claraedge.errors import ContainerError
from claraedge.runner.container_states import State
from claraedge.runner.containers.inspector import Inspector, lost
from claraedge.runner.containers.removal import Removal
from claraedge.runner.host import Host
from claraedge.runner.processes import Process, watched
from claraedge.runner.protocol import Exit, ExitCause, Phase
from claraedge.runner.workarounds.exit_files import ExitFiles

_log = logging.getLogger(__name__)


class Exits:
    """Waits for containers to end."""

    def __init__(self, host: Host, inspector: Inspector, removal: Removal) -> None:
        self._host = host
        self._inspector = inspector
        self._removal = removal
        self._files = ExitFiles()
        self._started: set[str] = set()

    def started(self, container: str) -> None:
        """Notes that this process just started the container, so that the first wait need not
        inspect it.
        """
        self._started.add(container)

    def forget(self, container: str) -> None:
        """Forgets a container that was removed."""
        self._started.discard(container)

    async def wait(self, container: str) -> Exit:
        """Implements Runner.wait. Raises ContainerError where the container was never started."""
        code = self._files.code(container)
        if code is not None:
            return Exit(cause=ExitCause.EXITED, code=code)
        state = self._just_started(container) or await self._inspector.state_in_outage(container)
        while state is not None and state.phase is Phase.RUNNING:
            with (
                watched(state.pid, container) as process,
                watched(state.conmon, container, supervisor=True) as supervisor,
            ):
                if process is not None:
                    await _first_end(process, supervisor)
                    if not process.gone:
                        return await self._abandon(container, process)
            code = await self._files.code_soon(container)
            if code is not None:
                return Exit(cause=ExitCause.EXITED, code=code)
            state = await self._inspector.settled(container)
            if lost(state, container):
                return await self._abandon(container, None)
        if state is None or state.phase is Phase.INTERRUPTED:
            return Exit(cause=ExitCause.VANISHED)
        if state.exit is None:
            raise ContainerError(f"container {container} was never started: it has no end")
        return state.exit

    def _just_started(self, container: str) -> State | None:
        """Returns the state right after our own start, without asking Podman; None where it is not
        known.
        """
        pid_files = self._host.pid_files
        if container not in self._started or pid_files is None:
            return None
        self._started.discard(container)
        pid = pid_files.process(container)
        supervisor = pid_files.supervisor(container)
        if not pid or not supervisor:
            return None
        return State(phase=Phase.RUNNING, pid=pid, conmon=supervisor, exit=None)

    async def _abandon(self, container: str, process: Process | None) -> Exit:
        """Ends a container whose exit code nobody can know."""
        _log.warning("container %s lost its supervisor", container)
        if process is not None:
            process.kill()
            await process.end()
        await self._removal.remove(container)
        self.forget(container)
        return Exit(cause=ExitCause.LOST_SUPERVISOR)


async def _first_end(process: Process, supervisor: Process | None) -> None:
    """Waits until the container's process or its supervisor has ended, whichever is first."""
    if supervisor is None:
        return
    ends = [asyncio.ensure_future(p.end()) for p in (process, supervisor)]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
