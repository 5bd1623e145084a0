"""Tells systemd that the daemon is alive, so that one that hangs is started again.

A restart costs little: containers run on, and the next daemon takes them up. So a sign is only sent
where work can really go on. What is bad outside (a Podman that hangs, a disk that is full) is no
reason for a restart. Source: sd_watchdog_enabled(3), sd_notify(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from claraedge.appliance import notify
from claraedge.errors import ClaraedgeError, UnavailableError

_log = logging.getLogger(__name__)

#: Seconds: a start asks for so much more, so often, but not for ever: then it hangs.
_MORE, _ASK, _LONGEST = 120.0, 30.0, 3600.0


def period(environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which the supervisor expects a sign; None: it expects none from us.

    What systemd started may be a script, which is our parent then.
    """
    if environment.get("WATCHDOG_PID", "") not in ("", str(os.getpid()), str(os.getppid())):
        return None
    told = environment.get("WATCHDOG_USEC", "")
    return int(told) / 1e6 if told.isdecimal() and int(told) > 0 else None


class Watchdog:
    """While it is open it asks for time to start, and from `run` on it sends signs of life."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._period = period(environment)
        self._starting: asyncio.Task[None] | None = None
        self._told: str | None = None

    async def __aenter__(self) -> Self:
        if self._period is not None and not faulthandler.is_enabled():
            # systemd ends what hangs by SIGABRT: the journal then has what each thread was at.
            with contextlib.suppress(OSError, ValueError):  # no stderr: nobody could read it
                faulthandler.enable(sys.__stderr__ or sys.stderr)
        self._starting = asyncio.create_task(self._ask_for_time(), name="time to start")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._started()

    async def run(
        self,
        write: Callable[[Callable[[Any], None]], Awaitable[None]],
        stuck: Callable[[], str | None],
    ) -> None:
        """Sends a sign at each half of the time, once READY=1 was sent; returns where none is
        expected.

        `write`: does something in a transaction of the state; `stuck`: why no job goes on, where
        that is a bug. This itself runs on the loop: one that does not turn sends nothing.
        """
        await self._started()
        if self._period is None:
            return
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            trouble = await self._silent(write, self._period) or stuck()
            if trouble is None:
                notify.notify("WATCHDOG=1", environment=self._environment)
            elif trouble != self._told:
                _log.error("no sign of life is sent to systemd", extra={"reason": trouble})
            self._told = trouble
            await asyncio.sleep(max(0.0, begun + self._period / 2 - loop.time()))

    async def _silent(
        self, write: Callable[[Callable[[Any], None]], Awaitable[None]], limit: float
    ) -> str | None:
        """Why nothing can be recorded; None: it can, or it is known why not."""
        try:
            async with asyncio.timeout(limit):
                await write(lambda _: None)
        except TimeoutError:
            return f"the state has not taken anything for {limit:g} s"
        except UnavailableError as error:  # whoever writes it has ended
            return str(error)
        except (ClaraedgeError, sqlite3.Error):  # a full or broken disk: an answer
            pass
        return None

    async def _ask_for_time(self) -> None:
        """A long migration or recovery is no reason to end a start, as long as the loop turns."""
        loop = asyncio.get_running_loop()
        last = loop.time() + _LONGEST
        while loop.time() < last:
            notify.extend_timeout(_MORE, environment=self._environment)
            await asyncio.sleep(_ASK)

    async def _started(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
            self._starting = None
