"""Items between their claim and their job, and which of them one thread takes at once."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

from claraedge.fs.adopting import Thing
from claraedge.inbox.intake.submit import Filled
from claraedge.inbox.model import Claimed
from claraedge.inbox.shares import on_share

#: What one thread takes at a time, at most.
_TOGETHER, _TOGETHER_BYTES = 16, 8 << 20


@dataclass(slots=True)
class Pending:
    """One of them."""

    item: Claimed
    wait: float
    """Seconds until it is tried again, should it be in vain."""
    tries: int = 0
    due: float = 0.0
    thing: Thing | None = None
    """What `claraedge adopt` has to give to us, of what keeps it."""
    moved: bool = False
    """No more in the inbox under its name, which may be another entry's by now."""
    began: float | None = None
    """When its present step began; None: it waits."""
    turn: float | None = None
    """The same, also while it was passed over since; those behind it wait for it for a while."""
    filled: Filled | None = None
    """Whole: only its rows are missing."""
    since: float = 0.0
    """When it was."""
    known: Filled | None = None
    """It was whole before, and could not become a job yet."""

    @property
    def tried(self) -> bool:
        """In vain: it goes on its own, and keeps no other waiting."""
        return self.tries > 0 or bool(self.item.reason)

    def hold(self, now: float, longest: float) -> None:
        """It was tried in vain."""
        self.due = now + self.wait
        self.wait = min(self.wait * 2, longest)
        self.tries += 1

    def rest(self) -> None:
        """Its step has ended."""
        self.began = self.turn = self.filled = None


class Entries:
    """The entries of triggers' folders that are being taken.

    Of an earlier life two items may have the same: the first was moved, and nobody knows that yet.
    """

    def __init__(self) -> None:
        self.taken: Counter[tuple[Path, bytes]] = Counter()

    def take(self, pending: Pending) -> None:
        self.taken.update((pending.item.folder, path) for path in pending.item.paths)

    def leave(self, pending: Pending) -> None:
        """They are no more in the inbox as what was taken; once is enough."""
        if pending.moved:
            return
        pending.moved = True
        for path in pending.item.paths:
            key = (pending.item.folder, path)
            self.taken[key] -= 1
            if not self.taken[key]:
                del self.taken[key]


def take_together(due: deque[Pending], most: int) -> list[Pending]:
    """Takes the next ones that one thread is to take at once, `most` of them or fewer."""
    taken = [due.popleft()]
    size, folder = taken[0].item.size, taken[0].item.folder
    shared = on_share(folder)
    while due and len(taken) < min(most, _TOGETHER) and not taken[-1].tried and not due[0].tried:
        if due[0].item.folder != folder and (shared or on_share(due[0].item.folder)):
            break
        size += due[0].item.size
        if size > _TOGETHER_BYTES:
            break
        taken.append(due.popleft())
    return taken
