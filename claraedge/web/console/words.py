"""The words of the console in each language, from `texts/*.toml`.

A text may contain fields, `{name}`. A text for a number is a table with `one` and `other`, chosen
by the field `count`.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

#: Languages by their code; the first one is used where a browser asks for none of them.
LANGUAGES = {"en": "English", "de": "Deutsch"}
_FIRST = next(iter(LANGUAGES))
_FORMATTER = string.Formatter()


class Words:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = texts_of(language)

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def __call__(self, key: str, /, **fields: object) -> str:
        """Returns a text with its fields filled in. Raises KeyError for a key or field that is
        missing.
        """
        text = self._texts[key]
        if not isinstance(text, str):
            text = text["one" if fields["count"] == 1 else "other"]
        return _FORMATTER.vformat(text, (), fields)


@cache
def words(language: str) -> Words:
    """Returns the texts of a language of `LANGUAGES`."""
    return Words(language)


@cache
def texts_of(language: str) -> Mapping[str, str | Mapping[str, str]]:
    """Returns all texts of a language by their keys, `section.name`."""
    content = files(__package__).joinpath(f"texts/{language}.toml").read_text(encoding="utf-8")
    found: dict[str, str | Mapping[str, str]] = {}
    _flatten("", tomllib.loads(content), found)
    return found


def chosen(cookie: str | None, accepted: str | None) -> str:
    """Returns the language of a viewer.

    `cookie`: the one that was chosen before. `accepted`: the header Accept-Language.
    """
    if cookie in LANGUAGES:
        return cookie
    wanted: list[tuple[float, int, str]] = []
    for place, item in enumerate((accepted or "").lower().split(",")):
        code, _, quality = item.strip().partition(";")
        code = code.partition("-")[0].strip()
        if code in LANGUAGES:
            wanted.append((-_quality(quality), place, code))
    wanted = [one for one in wanted if one[0] < 0]
    return min(wanted)[2] if wanted else _FIRST


def _quality(text: str) -> float:
    name, _, value = text.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def _flatten(prefix: str, table: Mapping[str, Any], found: dict[str, Any]) -> None:
    for name, value in table.items():
        if isinstance(value, dict) and set(value) != {"one", "other"}:
            _flatten(f"{prefix}{name}.", value, found)
        else:
            found[f"{prefix}{name}"] = value
