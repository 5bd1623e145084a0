"""Pings the systemd watchdog, so that a daemon that hangs is restarted.

A restart costs little: containers keep running, and the next daemon adopts them. Therefore a ping
is sent only if work can really make progress. External faults (Podman hangs, a disk is full) are no
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

#: Seconds. While the daemon starts, it requests `_MORE` more every `_ASK`, for `_LONGEST` at most:
#: a start that lasts longer is assumed to hang.
_MORE, _ASK, _LONGEST = 120.0, 30.0, 3600.0


def period(environment: Mapping[str, str] = os.environ) -> float | None:
    """Returns the seconds within which systemd expects a ping; None if it expects none from us.

    WATCHDOG_PID may also be our parent, because systemd may have started a script.
    """
    if environment.get("WATCHDOG_PID", "") not in ("", str(os.getpid()), str(os.getppid())):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) > 0 else None


class Watchdog:
    """Requests more time to start while it is open; `run` then sends the watchdog pings."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._period = period(environment)
        self._starting: asyncio.Task[None] | None = None
        self._reported: str | None = None

    async def __aenter__(self) -> Self:
        if self._period is not None and not faulthandler.is_enabled():
            # systemd ends a hung process by SIGABRT; the journal then has the stack of each thread.
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
        """Sends a ping every half period; returns at once if systemd expects none.

        Call it once READY=1 was sent. `write` runs a function in a transaction of the state;
        `stuck` returns the reason why no job makes progress, if that is a bug. This coroutine runs
        on the event loop, so a blocked loop sends no ping.
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
            elif trouble != self._reported:
                _log.error("no sign of life is sent to systemd", extra={"reason": trouble})
            self._reported = trouble
            await asyncio.sleep(max(0.0, begun + self._period / 2 - loop.time()))

    async def _silent(
        self, write: Callable[[Callable[[Any], None]], Awaitable[None]], limit: float
    ) -> str | None:
        """Returns why nothing can be recorded; None if it can be, or if a known fault prevents it.

        `limit` is in seconds.
        """
        try:
            async with asyncio.timeout(limit):
                await write(lambda _: None)
        except TimeoutError:
            return f"the state has not taken anything for {limit:g} s"
        except UnavailableError as error:  # the writer of the database has ended
            return str(error)
        except (ClaraedgeError, sqlite3.Error):  # full or broken disk: the database does respond
            pass
        return None

    async def _ask_for_time(self) -> None:
        """Requests more time to start while the loop runs: a migration or recovery may be long."""
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
