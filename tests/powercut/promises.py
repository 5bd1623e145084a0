"""Records what was promised while the disk was copied, and the time from which on it is promised.

A dropped item is promised from the time when its writer has fsynced it, and the change of a call
from its answer. A power cut between a call and its answer may leave the old or the new value.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

#: The key of a value: a kind, and an id or a name or both.
Key: TypeAlias = tuple[str, ...]
Value: TypeAlias = str | bool | dict[str, str] | tuple[str, ...] | None


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(kw_only=True)
class Item:
    """An item that was dropped."""

    kind: str
    """The expected outcome: plain, retried, faulty, linked, skipped or unkept."""
    paths: Sequence[Path]
    inputs: tuple[str, ...]
    """Digests of its files, sorted."""
    others: tuple[str, ...] = ()
    """Digests of files that belong to it but are not inputs: markers."""
    moment: float = math.inf
    """Seconds of `time.monotonic` from which on it is promised."""

    def promise(self) -> None:
        """Records that the item is durable now."""
        self.moment = time.monotonic()


@dataclass(kw_only=True)
class _Write:
    value: Value
    began: float
    """Seconds of `time.monotonic` at the begin of the call."""
    answered: float = math.inf
    """Seconds of `time.monotonic` at its answer."""


@dataclass
class Promises:
    """The promises of one flow."""

    items: list[Item] = field(default_factory=list)
    _writes: dict[Key, list[_Write]] = field(default_factory=lambda: defaultdict(list))

    def item(
        self,
        kind: str,
        paths: Iterable[Path],
        inputs: Iterable[bytes],
        others: Sequence[bytes] = (),
    ) -> Item:
        """Records an item that is about to be dropped."""
        made = Item(
            kind=kind,
            paths=list(paths),
            inputs=tuple(sorted(map(digest, inputs))),
            others=tuple(map(digest, others)),
        )
        self.items.append(made)
        return made

    @contextmanager
    def changing(self, *changes: tuple[Key, Value]) -> Iterator[None]:
        """Wraps a call that sets each key to a value; None means that it removes the key."""
        writes = [(key, _Write(value=value, began=time.monotonic())) for key, value in changes]
        for key, write in writes:
            self._writes[key].append(write)
        yield
        for _, write in writes:
            write.answered = time.monotonic()

    def answered(self, key: Key, value: Value = True) -> None:
        """Records a value that was unknown before the answer, such as an id."""
        with self.changing((key, value)):
            pass

    def allowed(self, moment: float) -> Iterator[tuple[Key, Sequence[Value]]]:
        """Yields the values that each key may have after a power cut at this time.

        The first value is the one that was answered last. Keys that no call had set by then are
        left out.
        """
        for key, writes in self._writes.items():
            begun = [write for write in writes if write.began <= moment]
            if not begun:
                continue
            last = [write.value for write in begun if write.answered <= moment][-1:] or [None]
            yield key, [*last, *(write.value for write in begun if write.answered > moment)]

    def broken_off(self, moment: float) -> list[Item]:
        """Returns the items that were not durable at this time: the cut ends their writers too."""
        return [item for item in self.items if item.moment > moment]
