"""Ids of packages and deployments, in the form of rapyuta.io: a kind and 24 random letters."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Literal

IdKind = Literal[
    "pkg", "plan", "comp", "exec", "dep", "inst", "route", "net", "bagjob", "bag"
]  # fmt: skip

#: Returns a new id of a kind; passed as a parameter wherever tests need to know the id beforehand.
NewKindId = Callable[[IdKind], str]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LENGTH = 24
_FORM = re.compile(rf"(pkg|plan|comp|exec|dep|inst|route|net|bagjob|bag)-[a-z]{{{_LENGTH}}}")


def new_kind_id(kind: IdKind) -> str:
    """Returns a new random id: `pkg-` and 24 letters for the kind `pkg`."""
    return f"{kind}-" + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def may_begin_id(text: str, kind: IdKind) -> bool:
    """Returns whether ids of this kind can begin with the text: the kind and at least a letter."""
    rest = text.removeprefix(f"{kind}-")
    return rest != text and rest.isascii() and rest.isalpha()


def is_id(text: str, kind: IdKind) -> bool:
    """Returns whether the text is a whole id of this kind."""
    found = _FORM.fullmatch(text)
    return found is not None and found[1] == kind
