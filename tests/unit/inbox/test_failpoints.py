"""The failpoints that tests kill at are those that the code has: none is forgotten, or stale."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import claraedge
from claraedge import failpoints
from claraedge.failpoints import hooked
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
    """Names of the failpoints of a room, by its source."""
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("reach"):
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


def test_the_product_itself_installs_no_hook() -> None:
    using = {path.name for path in ROOT.rglob("*.py") if "hooked" in path.read_text()}
    assert using == {"failpoints.py"}


def test_a_hook_is_called_until_its_end_also_by_an_error() -> None:
    passed: list[str] = []
    failpoints.reach("before")
    with hooked(passed.append):
        failpoints.reach("first")
        with pytest.raises(KeyError), hooked({}.__getitem__):
            failpoints.reach("second")
        failpoints.reach("third")
    failpoints.reach("after")
    assert passed == ["first", "third"]
