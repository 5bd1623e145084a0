"""Lists of a payload's files that are longer than a page, while the payload may change.

All files of an upload become visible together. A list of several pages would show only some of them
if the upload ends meanwhile; such a list is ended with an error instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from claraedge.errors import PayloadStateError
from claraedge.payloads import records
from claraedge.store.database import Transaction


class OpenList:
    """A list that is being read; `check` is called with each of its pages."""

    def __init__(self, lists: Lists, payload: str) -> None:
        self._lists = lists
        self._payload = payload
        self._begun = False
        self.changed = False

    def check(self, tx: Transaction) -> None:
        """Raises PayloadNotFoundError, and PayloadStateError after a change since the first page.

        It runs in a thread. Its first read decides which changes the page sees; those changes are
        marked before they are committed, or are still in progress.
        """
        if not self._begun:
            self.changed, self._begun = False, True
            records.refuse_missing(tx, self._payload)
            return
        records.refuse_missing(tx, self._payload)
        if self.changed or self._lists.is_changing(self._payload):
            raise PayloadStateError(
                f"the files of the payload {self._payload} change while they are listed; list them"
                " again"
            )


class Lists:
    """Tracks who lists files, and who changes them. All but `check` runs on the daemon's event
    loop.
    """

    def __init__(self) -> None:
        self._open: dict[str, set[OpenList]] = {}
        self._changing: Counter[str] = Counter()

    def is_changing(self, payload: str) -> bool:
        """Whether clients are changing files of the payload now."""
        return self._changing[payload] > 0

    @contextmanager
    def changing(self, payload: str) -> Iterator[None]:
        """Keep this context open while clients add, replace or remove files of a payload."""
        self._changing[payload] += 1
        try:
            yield
        finally:
            for one in self._open.get(payload, ()):
                one.changed = True
            self._changing[payload] -= 1
            if not self._changing[payload]:
                del self._changing[payload]

    @contextmanager
    def listing(self, payload: str) -> Iterator[OpenList]:
        """Keep this context open while the files of a payload are listed."""
        one = OpenList(self, payload)
        self._open.setdefault(payload, set()).add(one)
        try:
            yield one
        finally:
            self._open[payload].discard(one)
            if not self._open[payload]:
                del self._open[payload]
