"""Reads values of a manifest, and collects every mistake with its path. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from claraedge.errors import InvalidManifestError
from claraedge.pipelines.syntax.problems import listed, shown
from claraedge.pipelines.syntax.spelling import Speller

#: A value of JSON.
Json: TypeAlias = Any

#: Limits for the mistakes of an error, and for their bytes: a gRPC status has room for 2 KiB. One
#: more text reports how many were left out.
MAX_MISTAKES = 100
MAX_BYTES = 1900
#: Limit for the elements of each list.
MAX_ELEMENTS = 1000

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class Mistakes:
    """The mistakes of a manifest, each with its path."""

    def __init__(self) -> None:
        self.speller = Speller()
        self._found: dict[str, None] = {}
        self._more = 0
        self._places: list[tuple[str, str]] = []

    def rename(self, path: str, written: str) -> None:
        """Reports mistakes at `path` and below it at the path `written` from now on.

        The rule that was added last applies first.
        """
        self._places.insert(0, (path, written))

    def add(self, path: str, what: str) -> None:
        """Adds a mistake; `what` says what is wrong there, and what is allowed."""
        if len(self._found) == MAX_MISTAKES:
            self._more += 1
        else:
            self._found[f"{self._written(path) or 'the manifest'}: {what}"] = None

    def refuse(self) -> None:
        """Raises InvalidManifestError with all mistakes if there are any."""
        if not self._found:
            return
        room = MAX_BYTES
        texts: list[str] = []
        for text in self._found:
            room -= len(text.encode("utf-8", "replace")) + 1
            if texts and room < 0:
                break
            texts.append(text)
        if more := len(self._found) - len(texts) + self._more:
            texts.append(f"{more} more mistakes are not shown; correct the first ones")
        raise InvalidManifestError(*texts)

    def _written(self, path: str) -> str:
        for place, written in self._places:
            if path == place or (path.startswith(place) and path[len(place)] in ".["):
                return written + path[len(place) :]
        return path


class Written:
    """A value of the manifest, and where it stands. The value None: nothing is written there.

    Every method returns a usable value, and adds a mistake if what is written is wrong.
    """

    def __init__(self, value: Json, path: str, mistakes: Mistakes) -> None:
        self.value = value
        self.path = path
        self.mistakes = mistakes

    def wrong(self, what: str) -> None:
        """Adds a mistake at this place."""
        self.mistakes.add(self.path, what)

    def __getitem__(self, name: str) -> Written:
        """Returns the place of a field."""
        value = self.value.get(name) if isinstance(self.value, dict) else None
        key = f".{name}" if _PLAIN_KEY.fullmatch(name) else f"[{json.dumps(name[:64])}]"
        return Written(value, (self.path + key).removeprefix("."), self.mistakes)

    def fields(self, *known: str, ignored: Iterable[str] = ()) -> Written:
        """Returns this place, an object of which only these fields are known.

        `ignored` are fields that may be there as well, without any effect.
        """
        if self.value is not None and self._is(dict, "an object"):
            for name in self.value:
                if name not in known and name not in ignored:
                    self[name].wrong(
                        "there is no such field; "
                        + self.mistakes.speller.fix(name, known, f"known are {listed(known, 30)}")
                    )
        return self

    def items(self) -> list[Written]:
        """Returns the places of a list's elements."""
        if self.value is None or not self._is(list, "a list"):
            return []
        if len(self.value) > MAX_ELEMENTS:
            self.wrong(f"it has {len(self.value)} elements; {MAX_ELEMENTS} are allowed")
            return []
        return [
            Written(value, f"{self.path}[{i}]", self.mistakes) for i, value in enumerate(self.value)
        ]

    def listed(self) -> tuple[Json, ...]:
        """Returns a list as it is given."""
        return tuple(place.value for place in self.items())

    def mapping(self) -> Mapping[str, Json]:
        """Returns an object as it is given."""
        if self.value is None or not self._is(dict, "an object"):
            return {}
        return dict(self.value)

    def need(self, what: str) -> Written:
        """Adds a mistake if nothing is written here; `what` says what to write."""
        if self.value is None or self.value in ("", []):
            self.wrong(f"it is missing; write {what}")
        return self

    def text(self, *, longest: int = 255, rule: TextRule | None = None) -> str:
        """Returns a text on one line; empty if there is none."""
        text = self.prose(longest=longest)
        if not text:
            return ""
        if not text.isprintable() or text != text.strip():
            self.wrong(f"{shown(text)} has blanks at its ends or characters that are not printable")
            return ""
        if rule is not None and not rule.matches(text):
            self.wrong(f"{shown(text)} is not allowed; write {rule.meaning}")
            return ""
        return text

    def prose(self, *, longest: int = 65536) -> str:
        """Returns a text of any lines; empty if there is none."""
        if self.value is None or not self._is(str, "a text", "; put it in quotes"):
            return ""
        text: str = self.value
        if len(text) > longest:
            self.wrong(f"it has {len(text)} characters; {longest} are allowed")
            return ""
        if "\0" in text:
            self.wrong("it contains the character NUL; remove it")
            return ""
        return text

    def flag(self, *, default: bool = False) -> bool:
        """Returns a truth value."""
        if self.value is None or not self._is(bool, "true or false"):
            return default
        return bool(self.value)

    def number(self, most: float, unit: str, *, least: int = 0) -> float:
        """Returns a number from `least` to `most`; 0 if there is none."""
        if self.value is None:
            return 0
        what = f"a number from {least} to {most:g} ({unit})"
        if isinstance(self.value, bool):
            self.wrong(f"{_brief(self.value)} is not {what}")
            return 0
        if not self._is((int, float), what):
            return 0
        if not least <= self.value <= most:
            self.wrong(f"{_brief(self.value)} is not {what}")
            return 0
        return float(self.value)

    def whole(self, most: int, unit: str, *, least: int = 0) -> int:
        """Returns a whole number from `least` to `most`; 0 if there is none."""
        number = self.number(most, unit, least=least)
        if number != int(number):
            self.wrong(f"{_brief(self.value)} is not a whole number; write one ({unit})")
        return int(number)

    def choice(self, *options: str) -> str:
        """Returns one of the options; empty if there is none."""
        text = self.text()
        if text and text not in options:
            self.wrong(f"{shown(text)} is not allowed; write one of {listed(options)}")
            return ""
        return text

    def _is(self, kind: type | tuple[type, ...], what: str, more: str = "") -> bool:
        if isinstance(self.value, kind):
            return True
        scalar = self.value is not None and not isinstance(self.value, (dict, list))
        self.wrong(f"{_brief(self.value)} is not {what}{more if scalar else ''}")
        return False


class TextRule:
    """A form of texts, with its meaning in words."""

    def __init__(self, pattern: str, meaning: str) -> None:
        self.matches: Callable[[str], object] = re.compile(pattern).fullmatch
        self.meaning = meaning


def distinct(names: Iterable[tuple[Written, str]], what: str) -> None:
    """Adds a mistake for each name that stands twice."""
    seen: set[str] = set()
    for place, name in names:
        if name in seen:
            place.wrong(f"{shown(name)} is the name of another {what}; choose another")
        elif name:
            seen.add(name)


def _brief(value: Json) -> str:
    """Returns a value in a form for messages."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return shown(value, 40)
        case _:
            return f"`{json.dumps(value)}`"


def is_texts(value: Json) -> bool:
    """Returns whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
