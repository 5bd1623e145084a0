"""Asks folders on shares, whose server may be dead: such a call never returns.

Each of those folders has one thread. While that hangs nobody else waits for it, and the folder is
asked nothing more; when the server is back, its answer comes late and everything goes on.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from claraedge.blocking import Threads, in_thread
from claraedge.fs.mounts import mount_above

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds; a server that takes longer to tell of one folder is called dead.
ANSWER = 5.0
#: The same of one look at many entries, or at a big tree.
LOOK = 30.0
NO_ANSWER = "its folder does not answer: check the server and the network of that share"


class StalledError(OSError):
    """The folder does not answer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            errno.ETIMEDOUT,
            "it does not answer: check the server and the network of that share",
            str(folder),
        )


class StillBusyError(StalledError):
    """Not yet: something else of it is being looked at."""


def on_share(folder: Path) -> bool:
    """Whether calls to a folder may never return, by its path alone: it is not touched."""
    mount = mount_above(folder)
    return mount is not None and not mount.sends_events


class _Lane:
    def __init__(self, folder: Path) -> None:
        self.threads = Threads(1, f"ask {folder}"[:60])
        self.running: asyncio.Future[Any] | None = None
        self.until = 0.0
        """It hangs where it runs then still; of `time.monotonic`."""


class Shares:
    """Those that were asked."""

    def __init__(self) -> None:
        self._lanes: dict[Path, _Lane] = {}

    def busy(self, folder: Path) -> bool:
        """Its last call has not returned yet."""
        lane = self._lanes.get(folder)
        return lane is not None and lane.running is not None and not lane.running.done()

    async def ask(self, folder: Path, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs short blocking work on a folder. Raises StalledError where it hangs, StillBusyError
        where something else runs that may well return.
        """
        if not on_share(folder):
            return await in_thread(work, *args, **kwargs)
        if self.busy(folder):
            raise StalledError(folder) if self.hangs(folder) else StillBusyError(folder)
        running = self._begin(ANSWER, folder, work, *args, **kwargs)
        done, _ = await asyncio.wait([running], timeout=ANSWER)
        if not done:
            running.add_done_callback(_drop)
            raise StalledError(folder)
        return running.result()

    def begin(
        self, folder: Path, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Begins with blocking work, however long it takes, on a share that is not `busy`."""
        return self._begin(LOOK, folder, work, *args, **kwargs)

    def hangs(self, folder: Path) -> bool:
        """It is busy for longer than anything should take."""
        lane = self._lanes.get(folder)
        return lane is not None and self.busy(folder) and time.monotonic() >= lane.until

    def _begin(
        self, wait: float, folder: Path, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        assert not self.busy(folder)
        lane = self._lanes.setdefault(folder, _Lane(folder))
        running = asyncio.ensure_future(lane.threads.run(work, *args, **kwargs))
        lane.running, lane.until = running, time.monotonic() + wait
        return running


def _drop(running: asyncio.Future[Any]) -> None:
    if not running.cancelled():
        running.exception()  # nobody waits for it any more
