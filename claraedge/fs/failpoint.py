"""A moment at which a test ends the program, to see what a crash there leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Failpoint: TypeAlias = Callable[[str], None]


def nothing(_: str) -> None:
    """The product's."""
