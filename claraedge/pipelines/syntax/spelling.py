"""Suggests the known word that is most similar to a written one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

#: Names longer than this are not compared; a comparison costs the product of both lengths.
LONGEST = 64


class Speller:
    """Finds similar words, within a limited number of words and of comparisons.

    The limit prevents a definition with a hundred thousand misspelt names from taking seconds.
    """

    def __init__(self, comparisons: int = 1000, words: int = 1000) -> None:
        self._left = comparisons
        self._words = words

    def nearest(self, word: str, known: Iterable[str]) -> str | None:
        """Returns the known word most similar to this one without regard to case, or None."""
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
        """Returns `did you mean ...?`, or `otherwise` where no word is similar."""
        near = self.nearest(word, known)
        return f"did you mean `{near}`?" if near is not None else otherwise
