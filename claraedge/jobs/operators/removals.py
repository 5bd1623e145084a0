"""Removes ended containers in the background, so that work that awaits their end starts first."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from claraedge.bugs import known
from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.runner.protocol import Runner
from claraedge.waiting.until import wait_set

_log = logging.getLogger(__name__)

#: Seconds between a container's end and its removal: the next operators of its job start first.
DELAY = 0.3
#: Seconds for which a stopping daemon still removes containers; the next start removes the rest.
_LAST = 2.0
#: Ended containers that may wait for their removal, for each operator that may run. Podman makes
#: containers faster than it removes them, and each has one of the locks of its user (`num_locks`,
#: 2,048): without a bound, an hour of small jobs uses them up, and no container can be made any
#: more.
PER_OPERATOR = 2


class Removals:
    """A queue of containers to remove: `add` appends one, and `run` removes one after the other."""

    def __init__(self, runner: Runner, operators: int, on_outage: Callable[[], None]) -> None:
        """`operators`: how many may run at the same time.

        `on_outage` is called if containers may remain, as the runner did not answer.
        """
        self._runner = runner
        self._most = PER_OPERATOR * operators
        self._on_outage = on_outage
        self._waiting: deque[tuple[str, dict[str, str]]] = deque()
        self._added = asyncio.Event()
        self._removed = asyncio.Event()
        self._full = asyncio.Event()

    def add(self, container: str, **about: str) -> None:
        """Queues a container for removal; `about`: fields for the log, if the removal fails."""
        self._waiting.append((container, about))
        self._added.set()

    async def room(self) -> None:
        """Waits, before a container is made, until few enough wait for their removal."""
        while len(self._waiting) >= self._most:
            self._full.set()
            self._removed.clear()
            await self._removed.wait()

    async def run(self) -> None:
        """Removes queued containers until cancelled, and then for `_LAST` seconds more."""
        try:
            while True:
                await self._added.wait()
                await wait_set(self._full, DELAY)
                self._full.clear()
                await self._drain()
                if not self._waiting:
                    self._added.clear()
        finally:
            try:
                async with asyncio.timeout(_LAST):
                    await self._drain()
            except TimeoutError:
                _log.info("containers are left for the next start")

    async def _drain(self) -> None:
        while self._waiting:
            container, about = self._waiting[0]
            await self.remove(container, **about)
            self._waiting.popleft()
            self._removed.set()

    async def remove(self, container: str, **about: str) -> bool:
        """Removes a container now. Returns False if Podman fails; orphan removal retries it.

        A container that Podman refuses to remove is logged; the next start of the daemon retries
        it.
        """
        try:
            await self._runner.remove(container)
        except ContainerError as error:
            _log.warning(
                "container left behind",
                extra={"container": container[:12], "reason": str(error), **about},
            )
        except RunnerUnavailableError:
            self._on_outage()
            return False
        except Exception as error:  # noqa: BLE001 - it fails alone
            known(error, "the removal of a container", container=container[:12], **about)
            self._on_outage()  # orphan removal retries it
            return False
        return True
