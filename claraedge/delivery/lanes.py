"""What goes to one folder, and what of it waits there."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from claraedge.delivery.records import DeliveryRecord
from claraedge.delivery.roots import Root


@dataclass(slots=True, kw_only=True)
class Parked:
    """A delivery that was tried in vain."""

    reason: str
    wait: float
    until: float
    needed: int | None = None
    """Bytes, where the disk had no room for them."""
    lacked: bool = False
    """They were seen not to be there."""

    def is_due(self, now: float, free: int) -> bool:
        if self.needed is None or free >= self.needed:
            return self.lacked or self.until <= now
        self.lacked = True
        return False


@dataclass(slots=True)
class Lane:
    """What goes to one folder: it waits for nothing that goes to another."""

    root: Root
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    busy: set[str] = field(default_factory=set)
    parked: dict[str, Parked] = field(default_factory=dict)
    queue: deque[DeliveryRecord] = field(default_factory=deque)
    """What the last look found due, and no more; when it is empty there is another look."""
    looked: float = 0.0
    rest: float = 0.0
    """Seconds that the last look is worth: it reads all that is due."""
    trouble: str | None = None
