"""Resolves ids by any unique prefix, as Clara's own command line does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from claraedge.errors import ClaraedgeError, InvalidRequestError
from claraedge.ids import parse_id

_SHOWN = 10


def full_id(text: str) -> str | None:
    """Returns the id if `text` is a full one, else None."""
    try:
        return parse_id(text)
    except InvalidRequestError:
        return None


def by_prefix(
    text: str,
    candidates: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    noun: str,
    invalid: type[InvalidRequestError],
    missing: type[ClaraedgeError],
    see: str,
    article: str = "a",
) -> str:
    """Returns the only id that begins with `text`; `candidates` are pairs of id and name.

    Raises `invalid` if the text cannot begin an id or if several ids begin with it (the error lists
    them), and `missing` if none does. `see` is the command that shows all ids.
    """
    prefix = text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{1,32}", prefix):
        raise invalid(f"{text!r} is not the beginning of an id of {article} {noun}; see: {see}")
    pairs = candidates.items() if isinstance(candidates, Mapping) else candidates
    found = {id_: name for id_, name in pairs if id_.startswith(prefix)}
    if not found:
        raise missing(f"no {noun} has an id that begins with {text!r}; see: {see}")
    if len(found) > 1:
        lines = [f"  {id_}  {name}" for id_, name in list(found.items())[:_SHOWN]]
        more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise invalid(
            f"{text!r} begins the ids of {len(found)} {noun}s; give more digits:", *lines, *more
        )
    return next(iter(found))
