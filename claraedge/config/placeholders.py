"""Texts with `{NAME}` in them, as the configuration has them. `{{` and `}}` are braces. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def unknown(text: str, names: Collection[str]) -> list[str]:
    """What stands in braces, or is a lone brace, and is none of the names."""
    return [
        found[1] if found[1] is not None else found[0]
        for found in _PART.finditer(text)
        if found[0] not in ("{{", "}}") and found[1] not in names
    ]


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its values; all its names have one."""

    def value(found: re.Match[str]) -> str:
        return found[0][0] if found[1] is None else values[found[1]]

    return _PART.sub(value, text)
