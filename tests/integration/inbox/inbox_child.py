"""Lives of inbox, delivery and a small engine, each in a process of its own that may kill itself.

    python -m tests.integration.inbox.inbox_child

reads a `Life` a line, as JSON, and writes the exit status of its process: 0 once all has come to
its end, minus SIGKILL where it was killed. Each is a fork: nothing is imported again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

import msgspec

from claraedge.errors import ItemRetryError
from claraedge.failpoints import hooked
from claraedge.inbox.inspection import settling
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobStatus
from tests.rig.inbox import InboxRig, ended, inbox_rig, make_config
from tests.rig.waiting import eventually
from tests.unit.delivery.test_expiry import HOUR, keeper_of

#: At any name.
ANY = "*"
DEADLINE = 20.0
MORE = b" and more"


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """What a life is to do. It ends well once `wanted` items have."""

    state: str
    inbox: str
    kept_in: str = ""
    """Where originals and failures go, if not below the state."""
    trigger: dict[str, str | float]
    wanted: int
    faulted: bool = False
    """Jobs fail."""
    act: str = ""
    """`retry` failed items at once; `change` the file once it is claimed; `remove` results;
    `discard` failures.
    """
    at: str = ""
    """Dies when it passes this failpoint the `nth` time; ANY counts all of them."""
    nth: int = 1
    passed: str
    """The file for the names that it passed."""


class Fuse:
    """Kills the process without a word, as soon as it is where it is to die."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if self._life.act == "change" and name == "claim: row":
            _change(Path(self._life.inbox, "in/scan.dcm"))
        count = len(self.names) if self._life.at == ANY else self.names.count(name)
        if self._life.at in (name, ANY) and count == self._life.nth:
            self.note()
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self) -> None:
        Path(self._life.passed).write_bytes(msgspec.json.encode(self.names))


def _change(path: Path) -> None:
    if path.exists() and not path.read_bytes().endswith(MORE):
        with path.open("ab") as file:
            file.write(MORE)


async def live(life: Life) -> None:
    settling.LINKS_SECONDS = 0.0
    state, kept_in = Path(life.state), Path(life.kept_in)
    folders = {name: kept_in / name for name in ("originals", "failed")} if life.kept_in else {}
    trigger = {"folder": "in", "pipeline": "ct", **life.trigger}
    config = make_config(
        state, inbox=Path(life.inbox), trigger=[trigger], settle=0.03, rescan=0.3, **folders
    )
    status = JobStatus.FAULTED if life.faulted else JobStatus.HEALTHY
    async with inbox_rig(config, status=status) as rig:
        if not await rig.database.read(lambda tx: tx.rows("pipelines", after=0)):
            await rig.register("ct")
        if life.act == "retry":
            await _retry(rig)
        await rig.delivered(life.wanted)
        await eventually(lambda: _at_rest(rig), "the inbox is at rest")
        if life.act == "discard":
            for item in ended(list(await rig.inbox.items())):
                await rig.inbox.discard(item.id)
        if life.act == "remove":
            keeper = await keeper_of(rig, keep_days=1.0)
            await keeper.run_for(26 * HOUR)


async def _retry(rig: InboxRig) -> None:
    """As a person who sees a failure that nobody tried again, however often that was begun."""
    for item in await rig.inbox.items():
        if item.state is ItemState.FAILED and not item.reason.startswith("tried again"):
            with contextlib.suppress(ItemRetryError):  # an earlier one put it back
                await rig.inbox.retry(item.id)


async def _at_rest(rig: InboxRig) -> bool:
    """Nothing is left to do: what has ended leaves the spool, and its payload, just after."""
    state = rig.config.state_dir
    jobs = await rig.jobs()
    items = list(await rig.inbox.items())
    return (
        items == ended(items)
        and not any((state / "spool").iterdir())
        and Counter(path.name for path in (state / "payloads").iterdir())
        == Counter(job.payload for job in jobs)
    )


def _fork(life: Life) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        fuse = Fuse(life)
        with hooked(fuse):
            asyncio.run(live(life))
        fuse.note()
        code = 0
    finally:  # the fork must not continue with its parent's code
        if code:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    logging.getLogger("claraedge").setLevel(logging.ERROR)  # a failure is a warning, and wanted
    for line in sys.stdin:
        print(_fork(msgspec.json.decode(line, type=Life)), flush=True)


if __name__ == "__main__":
    main()
