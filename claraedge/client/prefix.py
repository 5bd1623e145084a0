"""Ids by any unique left prefix, as Clara's own command line takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from claraedge.errors import ClaraedgeError, InvalidRequestError
from claraedge.ids import parse_id

_SHOWN = 10


def full_id(text: str) -> str | None:
    """The id, where `text` is a whole one."""
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
    look: str,
    article: str = "a",
) -> str:
    """The one id that begins with `text`; `candidates` are (id, what to call it).

    Raises `invalid` where the text is no beginning of an id or several ids begin with it (they are
    listed), `missing` where none does; `look` is the command that shows them all.
    """
    prefix = text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{1,32}", prefix):
        raise invalid(f"{text!r} is not the beginning of an id of {article} {noun}; see: {look}")
    pairs = candidates.items() if isinstance(candidates, Mapping) else candidates
    found = {id_: name for id_, name in pairs if id_.startswith(prefix)}
    if not found:
        raise missing(f"no {noun} has an id that begins with {text!r}; see: {look}")
    if len(found) > 1:
        lines = [f"  {id_}  {name}" for id_, name in list(found.items())[:_SHOWN]]
        more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise invalid(
            f"{text!r} begins the ids of {len(found)} {noun}s; give more digits:", *lines, *more
        )
    return next(iter(found))
