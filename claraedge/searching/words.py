"""The words of a search, and what they match."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

#: The most characters of a text to search for.
LONGEST = 500
_PART_OF_ID = re.compile(r"[0-9a-f-]+")
#: Of no id; for a word that cannot begin one.
_NO_ID = " "


@dataclass(frozen=True)
class SearchText:
    """The words of a text, each of which has to occur in a result."""

    text: str

    @cached_property
    def folded(self) -> tuple[str, ...]:
        """The words, without the differences that do not count."""
        return tuple(fold(word) for word in self.text.replace("\0", " ").split())

    @cached_property
    def needles(self) -> list[tuple[str, str]]:
        """Two texts by which SQL finds rows, each with the beginning of an id that does as well.

        SQLite changes the case of ASCII letters only. So these are the longest parts of words
        without other letters, and without `s`, which may be a part of `ß`; a row that has them
        need not match; empty: any row has it.
        """
        found = [(max(_plain(word), key=len), _id(word)) for word in self.folded]
        return sorted(found, key=lambda one: -len(one[0]))[:2] + [("", _NO_ID)] * (2 - len(found))

    @cached_property
    def _words(self) -> list[tuple[str, str]]:
        """The words, each with the beginning of an id that it means."""
        return [(word, _id(word)) for word in self.folded]

    def match(self, id_: str, texts: Iterable[str]) -> bool:
        """Whether each word occurs in one of the texts, or begins the id."""
        if not self.folded:
            return True
        folded = [fold(text) for text in texts]
        return all(
            any(word in text for text in folded) or id_.startswith(prefix)
            for word, prefix in self._words
        )


def fold(text: str) -> str:
    """Returns a text that is the same for texts which differ only in case or form of accents."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _id(word: str) -> str:
    """Returns which beginning of an id a word means; a space if none."""
    return word.replace("-", "") or _NO_ID if _PART_OF_ID.fullmatch(word) else _NO_ID


def _plain(word: str) -> list[str]:
    """Returns the parts of a word that SQLite compares as `fold` does."""
    return "".join(c if _is_plain(c) else "\0" for c in word).split("\0")


def _is_plain(character: str) -> bool:
    if character == "s":  # `fold` makes two of `ß`
        return False
    forms = {character, character.upper(), unicodedata.normalize("NFD", character)}
    return character.isascii() or len(forms) == 1
