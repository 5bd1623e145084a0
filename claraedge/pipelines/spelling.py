"""Did you mean: the known word that a written one comes nearest to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Names beyond this are not compared; the comparison costs the product of both lengths.
LONGEST = 64


class Speller:
    """Looks for near words, up to a bounded number of comparisons.

    The bound keeps a definition of a hundred thousand misspelt names from costing seconds.
    """

    def __init__(self, comparisons: int = 1000) -> None:
        self._left = comparisons

    def nearest(self, word: str, known: Iterable[str]) -> str | None:
        """The known word nearest to this one without regard to case, or None."""
        candidates = {k.casefold(): k for k in known if len(k) <= LONGEST}
        if len(word) > LONGEST or len(candidates) > self._left:
            return None
        self._left -= len(candidates)
        near = difflib.get_close_matches(word.casefold(), candidates, n=1, cutoff=0.6)
        return candidates[near[0]] if near else None

    def fix(self, word: str, known: Iterable[str], otherwise: str) -> str:
        """`did you mean ...?`, or the other text where nothing comes near."""
        near = self.nearest(word, known)
        return f"did you mean `{near}`?" if near is not None else otherwise
