"""A part gets its callbacks when it is constructed: nobody assigns them later, or forgets to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "claraedge"


def assigned(text: str) -> Iterator[str]:
    """Each target `X.on_...` of an assignment, where X is not `self`."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and node.attr.startswith("on_")
            and ast.unparse(node.value) != "self"
        ):
            yield ast.unparse(node)


def test_callbacks_are_arguments_of_constructors() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}: {target}"
        for path in PACKAGE.rglob("*.py")
        for target in assigned(path.read_text(encoding="utf-8"))
    }
    assert sorted(found) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("self.models.on_changed = f", 1),
        ("models.on_changed: Callable[[], None] = f", 1),
        ("a, b.on_done = f", 1),
        ("self.on_done = f", 0),
        ("Models(on_changed=f)", 0),
        ("models.on_changed()", 0),
    ],
)
def test_an_assignment_is_found(text: str, count: int) -> None:
    assert len(list(assigned(text))) == count
