"""Removes containers that have ended, after those that wait for their end have gone on."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from claraedge.bugs import known
from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.runner.protocol import Runner

_log = logging.getLogger(__name__)

#: Seconds between a container's end and its removal: what follows it in its job starts meanwhile.
DELAY = 0.3
#: A daemon that stops goes on removing for so many seconds; the next start removes the rest.
_LAST = 2.0


class Removals:
    """Containers that nobody needs any more; `add` them, and `run` removes one after the other."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.on_outage: Callable[[], None] = lambda: None
        """Some may be left, because the runner did not answer."""
        self._waiting: deque[tuple[str, dict[str, str]]] = deque()
        self._added = asyncio.Event()

    def add(self, container: str, **about: str) -> None:
        """`about`: what the log says of it, should it stay."""
        self._waiting.append((container, about))
        self._added.set()

    async def run(self) -> None:
        """Removes until it is cancelled, and then for a moment more."""
        try:
            while True:
                await self._added.wait()
                await asyncio.sleep(DELAY)
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

    async def remove(self, container: str, **about: str) -> bool:
        """Removes one at once; False where Podman does not answer, then it is looked for later.

        One that Podman keeps is logged; the next start tries it again.
        """
        try:
            await self._runner.remove(container)
        except ContainerError as error:
            _log.warning(
                "container left behind",
                extra={"container": container[:12], "reason": str(error), **about},
            )
        except RunnerUnavailableError:
            self.on_outage()
            return False
        except Exception as error:  # noqa: BLE001 - it fails alone
            known(error, "the removal of a container", container=container[:12], **about)
            self.on_outage()  # it is looked for again
            return False
        return True
