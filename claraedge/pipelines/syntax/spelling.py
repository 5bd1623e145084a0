"""Did you mean: the known word that a written one comes nearest to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

#: Names beyond this are not compared; the comparison costs the product of both lengths.
LONGEST = 64


class Speller:
    """Looks for near words, up to a bounded number of words and of comparisons.

    The bound keeps a definition of a hundred thousand misspelt names from costing seconds.
    """

    def __init__(self, comparisons: int = 1000, words: int = 1000) -> None:
        self._left = comparisons
        self._words = words

    def nearest(self, word: str, known: Iterable[str]) -> str | None:
        """The known word nearest to this one without regard to case, or None."""
        if len(word) > LONGEST or self._words == 0:
            return None
        self._words -= 1
        some = list(islice(known, self._left + 1))
        if len(some) > self._left:
            return None
        candidates = {k.casefold(): k for k in some if len(k) <= LONGEST and k.isprintable()}
        self._left -= len(candidates)
        near = difflib.get_close_matches(word.casefold(), candidates, n=1, cutoff=0.6)
        return candidates[near[0]] if near else None

    def fix(self, word: str, known: Iterable[str], otherwise: str) -> str:
        """`did you mean ...?`, or the other text where nothing comes near."""
        near = self.nearest(word, known)
        return f"did you mean `{near}`?" if near is not None else otherwise
