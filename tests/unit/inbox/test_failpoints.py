"""The failpoints that tests kill at are those that the code has: none is forgotten, or stale."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import claraedge
from tests.failpoints import delivery as of_delivery
from tests.failpoints import inbox as of_inbox

ROOT = Path(claraedge.__file__).parent


def named(module: ModuleType) -> set[str]:
    """All names in its tuples, which may contain names of another package."""
    return {
        name
        for value in vars(module).values()
        if isinstance(value, tuple)
        for name in value
        if isinstance(name, str)
    }


def used(room: str) -> Iterator[str]:
    """What is said to a failpoint, by its source."""
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in ("failpoint", "_failpoint"):
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}: a name that is not written out"
                assert isinstance(name.value, str)
                yield name.value


@pytest.mark.parametrize(
    ("rooms", "names"),
    [
        (("delivery", "fs"), named(of_delivery)),
        (("inbox",), named(of_inbox) - named(of_delivery)),
    ],
)
def test_the_lists_name_what_the_code_passes(rooms: tuple[str, ...], names: set[str]) -> None:
    found = [name for room in rooms for name in used(room)]
    assert set(found) == names
    assert len(found) == len(set(found)), "one name at two places: which one kills?"
