"""The parts of a YAML document, each with the file, line and column where it was written.

The names are those of the Clara reference: scalars, lists, objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

_NULL = re.compile(r"|~|null|Null|NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarNode:
    """A single value. Its text is that of the source: `1.10` stays `1.10`."""

    file: str
    line: int
    column: int
    text: str
    plain: bool = False
    """Whether it is written without quotes."""
    unresolved: bool = False
    """Whether it contains a placeholder without a value (yet), so that its text cannot
    be checked.
    """

    @property
    def null(self) -> bool:
        """Whether no value was written (YAML 1.2 core schema)."""
        return self.plain and _NULL.fullmatch(self.text) is not None

    def children(self) -> Iterator[Node]:
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNode:
    """A list."""

    file: str
    line: int
    column: int
    items: tuple[Node, ...]

    def children(self) -> Iterator[Node]:
        return iter(self.items)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectNode:
    """An object: properties in the order of the source, each key once."""

    file: str
    line: int
    column: int
    entries: tuple[tuple[ScalarNode, Node], ...]

    def children(self) -> Iterator[Node]:
        return (value for _, value in self.entries)

    def get(self, key: str) -> Node | None:
        """Returns the value of a property; None where it is missing."""
        return next((value for k, value in self.entries if k.text == key), None)


Node: TypeAlias = ScalarNode | ListNode | ObjectNode


def kind(node: Node) -> str:
    """Returns the kind of a node, in words for a message."""
    match node:
        case ListNode():
            return "a list"
        case ObjectNode():
            return "an object"
        case ScalarNode():
            return "nothing" if node.null else "a single value"
