"""Calls to folders on network shares, which never return while their server is dead.

Each of those folders has one thread. While a call hangs in it, no other folder waits, and no
further call to that folder starts; when the server is back, the call returns and work continues.
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

#: Longest duration (s) of a short call to one folder; after it, the share counts as hanging.
ANSWER = 5.0
#: Longest duration (s) of an inspection of many entries or a big tree, for the same decision.
INSPECTION = 30.0
NO_ANSWER = "its folder does not answer: check the server and the network of that share"


class StalledError(OSError):
    """A folder on a share does not answer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            errno.ETIMEDOUT,
            "it does not answer: check the server and the network of that share",
            str(folder),
        )


class StillBusyError(StalledError):
    """Another call to the folder is running, and does not hang: try again later."""


def on_share(folder: Path) -> bool:
    """Whether calls to a folder may never return. Decided by its path; the folder is not read."""
    mount = mount_above(folder)
    return mount is not None and not mount.sends_events


class _Lane:
    def __init__(self, folder: Path) -> None:
        self.threads = Threads(1, f"ask {folder}"[:60])
        self.running: asyncio.Future[Any] | None = None
        self.until = 0.0
        """`time.monotonic` (s) after which a call that still runs counts as hanging."""


class Shares:
    """Runs blocking calls to folders, with one thread for each folder on a share."""

    def __init__(self) -> None:
        self._lanes: dict[Path, _Lane] = {}

    def busy(self, folder: Path) -> bool:
        """Whether the last call to a folder has not returned yet."""
        lane = self._lanes.get(folder)
        return lane is not None and lane.running is not None and not lane.running.done()

    async def ask(self, folder: Path, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs short blocking work on a folder, and returns its result.

        Raises StalledError where it hangs, StillBusyError while an earlier call is running that may
        still return, and whatever the work raises.
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
        """Starts blocking work of any duration on a share, which must not be `busy`."""
        return self._begin(INSPECTION, folder, work, *args, **kwargs)

    def hangs(self, folder: Path) -> bool:
        """Whether the last call to a folder runs for longer than it should ever take."""
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
        running.exception()  # nobody waits for it any more; marks its error as retrieved
