"""The part of the results of a search that a call asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from claraedge.searching.words import SearchText

Value: TypeAlias = str | float | None


class Key(NamedTuple):
    """The place of a result among all results: those with a higher one come first."""

    time: float
    """Unix seconds."""
    id: str


_HIGHEST = Key(float("inf"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage:
    """What to search for, and which part of the results to return."""

    words: SearchText
    pipeline: str = ""
    """The id or the name of a pipeline; empty: any."""
    ids: frozenset[str] = frozenset()
    """Only results with these ids; none: with any."""
    limit: int
    """The most results, one more than a page has: whether others follow."""
    beyond: Key | None = None
    """The place at which the page begins, which is not part of it; None: before all."""
    newer: bool = False
    """The page has the results before `beyond`, the nearest first, and not those after it."""

    @property
    def parameters(self) -> dict[str, Value]:
        """The parameters of the queries."""
        beyond = self.beyond or _HIGHEST
        (word, prefix), (other_word, other_prefix) = self.words.needles
        return {
            "word": word,
            "prefix": prefix,
            "other_word": other_word,
            "other_prefix": other_prefix,
            "pipeline": self.pipeline,
            "time": beyond.time,
            "id": beyond.id,
        }

    @property
    def encoded_ids(self) -> str:
        """The ids as JSON, a parameter of the queries by id."""
        return json.dumps(sorted(self.ids))

    def selects(self, key: Key, *pipeline: str) -> bool:
        """Whether a result of a pipeline, which has an id and perhaps a name, may be on the page:
        whatever its words are.
        """
        return (
            self.has(key)
            and (not self.ids or key.id in self.ids)
            and (not self.pipeline or self.pipeline in pipeline)
        )

    def has(self, key: Key) -> bool:
        """Whether a place is in the part of the results at whose beginning the page is."""
        beyond = self.beyond or _HIGHEST
        return key > beyond if self.newer else key < beyond
