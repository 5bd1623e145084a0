"""What was promised while the disk was copied, each with the moment from which on it is a promise.

A dropped item is one from the moment that its writer has fsynced it; what a call changes is one
from its answer. Between a call and its answer a power cut may leave old or new.
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

#: What a value belongs to: a kind, and an id or a name or both.
Key: TypeAlias = tuple[str, ...]
Value: TypeAlias = str | bool | dict[str, str] | tuple[str, ...] | None


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(kw_only=True)
class Item:
    """Something that was dropped."""

    kind: str
    """plain, retried, faulty, linked, skipped, unkept: what becomes of it."""
    paths: Sequence[Path]
    inputs: tuple[str, ...]
    """Digests, sorted."""
    others: tuple[str, ...] = ()
    """Digests of files that belong to it and are no inputs: markers."""
    moment: float = math.inf

    def promise(self) -> None:
        """It is durable now."""
        self.moment = time.monotonic()


@dataclass(kw_only=True)
class _Write:
    value: Value
    began: float
    answered: float = math.inf


@dataclass
class Promises:
    """Of one flow."""

    items: list[Item] = field(default_factory=list)
    _writes: dict[Key, list[_Write]] = field(default_factory=lambda: defaultdict(list))

    def item(
        self,
        kind: str,
        paths: Iterable[Path],
        inputs: Iterable[bytes],
        others: Sequence[bytes] = (),
    ) -> Item:
        """Notes an item that is about to be dropped."""
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
        """Around a call that gives each key this value; None: takes it away."""
        writes = [(key, _Write(value=value, began=time.monotonic())) for key, value in changes]
        for key, write in writes:
            self._writes[key].append(write)
        yield
        for _, write in writes:
            write.answered = time.monotonic()

    def answered(self, key: Key, value: Value = True) -> None:
        """What was not known before the answer: an id."""
        with self.changing((key, value)):
            pass

    def allowed(self, moment: float) -> Iterator[tuple[Key, Sequence[Value]]]:
        """The values that each key may have after a power cut at that moment; the first is the one
        that was answered last. Without those that nobody had asked for.
        """
        for key, writes in self._writes.items():
            begun = [write for write in writes if write.began <= moment]
            if not begun:
                continue
            last = [write.value for write in begun if write.answered <= moment][-1:] or [None]
            yield key, [*last, *(write.value for write in begun if write.answered > moment)]

    def broken_off(self, moment: float) -> list[Item]:
        """Items whose writer had not made them durable then: the cut ends the writer as well."""
        return [item for item in self.items if item.moment > moment]
