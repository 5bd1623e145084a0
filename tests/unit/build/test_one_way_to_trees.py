"""Only `claraedge.fs` walks trees and makes their folders: what ruff cannot see of that.

ruff bans functions by their names (`os.walk`, `shutil.rmtree`); it does not know methods.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "claraedge"
INSTEAD = {
    "rglob": "claraedge.fs.walking: of any depth, through no link",
    "walk": "claraedge.fs.walking: of any depth, through no link",
    "glob **": "claraedge.fs.walking: of any depth, through no link",
    "mkdir parents": "claraedge.fs.files.make_folders: durable, of any depth",
}
#: `walk` of something else than a path; the second one is ruff's.
OTHERS = frozenset({"walking.walk", "os.walk"})


def banned(text: str) -> Iterator[tuple[int, str]]:
    """The line of each method that is banned, and what to call instead."""
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if ast.unparse(node.func) in OTHERS:
            continue
        name = node.func.attr
        if name == "mkdir" and any(word.arg in ("parents", None) for word in node.keywords):
            name = "mkdir parents"
        if name == "mkdir" and len(node.args) > 1 and ast.unparse(node.func) != "os.mkdir":
            name = "mkdir parents"
        if name in ("glob", "iglob") and any("**" in ast.unparse(one) for one in node.args):
            name = "glob **"
        if name in INSTEAD:
            yield node.lineno, INSTEAD[name]


def test_nothing_but_fs_walks_trees_or_makes_their_folders() -> None:
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: use {instead}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in ("fs", "wire")
        for line, instead in banned(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("path.rglob('*')", 1),
        ("Path('a').walk()", 1),
        ("path.glob('**/x')", 1),
        ("(a / b).mkdir(mode=0o700, parents=True)", 1),
        ("path.mkdir(0o700, True)", 1),
        ("path.mkdir(**given)", 1),
        ("path.mkdir(0o700, exist_ok=True)", 0),
        ("os.mkdir(name, 0o700, dir_fd=at)", 0),
        ("path.glob('*.py')", 0),
        ("walk(path)", 0),
    ],
)
def test_what_is_banned_is_found(text: str, count: int) -> None:
    assert len(list(banned(text))) == count
