"""Lanes: the deliveries to one folder, with those that wait for a retry."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from claraedge.delivery.records import DeliveryRecord
from claraedge.delivery.roots import Root
from claraedge.waiting.backoff import Backoff


@dataclass(slots=True, kw_only=True)
class Parked:
    """A failed delivery that is retried at `until` (BOOTTIME, seconds), each time after longer."""

    reason: str
    backoff: Backoff
    until: float
    needed: int | None = None
    """Bytes that it needs, if the disk was too full; else None."""
    lacked: bool = False
    """Whether a later check has found these bytes still missing."""

    def is_due(self, now: float, free: int) -> bool:
        """Returns whether it may be retried at `now` (BOOTTIME), with `free` bytes on the disk."""
        if self.needed is None or free >= self.needed:
            return self.lacked or self.until <= now
        self.lacked = True
        return False


@dataclass(slots=True)
class Lane:
    """The deliveries to one folder, independent of those to other folders."""

    root: Root
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    busy: set[str] = field(default_factory=set)
    """Jobs whose deliveries are in progress."""
    parked: dict[str, Parked] = field(default_factory=dict)
    """Job -> its failed delivery, which waits for a retry."""
    queue: deque[DeliveryRecord] = field(default_factory=deque)
    """The due deliveries that the last scan found; when it is empty, the next scan follows."""
    scanned: float = 0.0
    """BOOTTIME (seconds) of the last scan."""
    rest: float = 0.0
    """Seconds until the next scan, because a scan reads all due deliveries."""
    trouble: str | None = None
    """Why nothing can be delivered to the folder now; None: it can."""
