"""Finds the input that a result was probably made from. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def original_of(name: str, inputs: Sequence[str]) -> str:
    """Returns the input whose name is most like that of a result; empty if none is.

    The last part of the names is compared, with and without what follows its first dot. The only
    input of a job is the original of all its results.
    """
    last = _last(name)
    by_last = [one for one in inputs if _last(one) == last]
    by_stem = [one for one in inputs if _stem(one) == _stem(name)]
    for found in (by_last, by_stem, inputs):
        if len(found) == 1:
            return found[0]
    return by_last[0] if by_last else ""


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    return _last(name).partition(".")[0].lower()
