"""What a setting may be, in words, and what is wrong with a value that is not that. Pure."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

_LONGEST = 80


def wrong(value: object, kind: Any) -> str:
    """Returns what is wrong with a value that `kind`, the type of a field of a section, refuses."""
    info = inspect.type_info(kind)
    close = get_close_matches(str(value), _choices(info), 1) if isinstance(value, str) else []
    hint = f"; did you mean {json.dumps(close[0])}?" if close else ""
    return f"{_shown(value)} is not {_words(info)}{hint}"


def allowed(kind: Any) -> str:
    """Returns in words which values `kind`, the type of a field of a section, allows."""
    return _words(inspect.type_info(kind))


def _shown(value: object) -> str:
    """As it is written in the file."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _choices(info: inspect.Type) -> list[str]:
    match info:
        case inspect.LiteralType(values=values):
            return [str(value) for value in values]
        case inspect.UnionType(types=types):
            return [choice for each in types for choice in _choices(each)]
    return []


def _words(info: inspect.Type) -> str:
    match info:
        case inspect.UnionType(types=types):
            return " or ".join(_words(t) for t in types if not isinstance(t, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(json.dumps(value) for value in values)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(gt=gt, ge=ge, lt=lt, le=le):
            return f"a whole number{_range(gt, ge, lt, le)}"
        case inspect.FloatType(gt=gt, ge=ge, lt=lt, le=le):
            return f"a number{_range(gt, ge, lt, le)}"
        case inspect.StrType(min_length=least):
            return "a text that is not empty" if least else "a text"
        case inspect.CustomType(cls=cls) if cls is Path:
            return "a path"
        case inspect.VarTupleType(item_type=item):
            return f"a list, each entry of it {_words(item)}"
        case inspect.StructType():
            return "a table of settings"
        case inspect.DictType(value_type=item):
            return f"a table, each value in it {_words(item)}"
    raise NotImplementedError(f"a setting of a type that has no words: {info}")


def _range(gt: float | None, ge: float | None, lt: float | None, le: float | None) -> str:
    bounds = {"more than": gt, "at least": ge, "less than": lt, "at most": le}
    limits = [f"{word} {bound:.15g}" for word, bound in bounds.items() if bound is not None]
    return f" of {' and '.join(limits)}" if limits else ""


def is_path(kind: type, value: object) -> Path:
    """For msgspec: the path that a text is. Raises ValidationError if it is empty or no text."""
    if kind is not Path or not isinstance(value, str) or not value:
        raise msgspec.ValidationError("Expected a path")
    return Path(value)
