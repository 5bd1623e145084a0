"""Items between their claim and their job, and which of them one thread processes together."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

from claraedge.fs.adopting import Thing
from claraedge.inbox.intake.submit import Filled
from claraedge.inbox.model import Claimed
from claraedge.inbox.shares import on_share
from claraedge.waiting.backoff import Backoff

#: Most items, and most bytes, that one thread processes together.
_TOGETHER, _TOGETHER_BYTES = 16, 8 << 20


@dataclass(slots=True)
class Pending:
    """A claimed item that has no job yet. Times are seconds of the clock's `elapsed`."""

    item: Claimed
    backoff: Backoff
    """The pauses between a failed try and the next one."""
    tries: int = 0
    """Number of failed tries."""
    due: float = 0.0
    """BOOTTIME (seconds) of the next try."""
    thing: Thing | None = None
    """The file or folder that `claraedge adopt` has to give to the daemon's user."""
    moved: bool = False
    """It has left the inbox, where another entry may have its name by now."""
    began: float | None = None
    """BOOTTIME (seconds) at which its current step began; None: it waits."""
    turn: float | None = None
    """Like `began`, in seconds, but kept when the item was postponed: later items wait for it
    for a while.
    """
    filled: Filled | None = None
    """Its payload, once that is complete: only the rows of its job are missing."""
    since: float = 0.0
    """BOOTTIME (seconds) at which `filled` was set."""
    known: Filled | None = None
    """Its payload from an earlier try, after which it could not become a job."""

    @property
    def tried(self) -> bool:
        """Whether a try has failed: it is processed alone then, and delays no other item."""
        return self.tries > 0 or bool(self.item.reason)

    def plan_retry(self, now: float) -> None:
        """Notes a failed try, and plans the next one."""
        self.due = now + self.backoff.next()
        self.tries += 1

    def rest(self) -> None:
        """Notes the end of its current step: it waits again."""
        self.began = self.turn = self.filled = None


class Entries:
    """The entries of triggers' folders that are being claimed, counted.

    After a restart, two items may have the same entry: the first was moved to the spool before, but
    that is not known yet.
    """

    def __init__(self) -> None:
        self.taken: Counter[tuple[Path, bytes]] = Counter()

    def add(self, pending: Pending) -> None:
        """Adds the entries of an item."""
        self.taken.update((pending.item.folder, path) for path in pending.item.paths)

    def leave(self, pending: Pending) -> None:
        """Removes the entries of an item that has left the inbox. Further calls change nothing."""
        if pending.moved:
            return
        pending.moved = True
        for path in pending.item.paths:
            key = (pending.item.folder, path)
            self.taken[key] -= 1
            if not self.taken[key]:
                del self.taken[key]


def next_together(due: deque[Pending], most: int) -> tuple[list[Pending], bool]:
    """Removes from `due`, and returns, the next items for one thread: at least one, at most `most`.

    Also returns whether their folder lies on a share. An item that was tried before, and each
    share, gets a thread of its own.
    """
    chosen = [due.popleft()]
    size, folder = chosen[0].item.size, chosen[0].item.folder
    shared = on_share(folder)
    while due and len(chosen) < min(most, _TOGETHER) and not chosen[-1].tried and not due[0].tried:
        if due[0].item.folder != folder and (shared or on_share(due[0].item.folder)):
            break
        size += due[0].item.size
        if size > _TOGETHER_BYTES:
            break
        chosen.append(due.popleft())
    return chosen, shared
