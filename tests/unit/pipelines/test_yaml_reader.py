"""The reader: places, values as written, and bounds on what a hostile file may cost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import yaml
from wrong_definitions import WRONG

from claraedge.pipelines.checks.load import load
from claraedge.pipelines.model import DefinitionFile
from claraedge.pipelines.syntax import reader
from claraedge.pipelines.syntax.nodes import ListNode, Node, ObjectNode, ScalarNode
from claraedge.pipelines.syntax.problems import Report
from claraedge.pipelines.syntax.reader import read
from tests.rig.costs import cost

RIGHT = Path(__file__).parents[2] / "definitions" / "right"


def clean(text: str) -> Node:
    report = Report()
    node = read(text, "f", report)
    assert report.problems() == ()
    assert node is not None
    return node


def refused(text: str) -> str:
    """Code of the only problem."""
    report = Report()
    assert read(text, "f", report) is None
    (problem,) = report.problems()
    return problem.code


def test_every_node_knows_its_place() -> None:
    root = clean("# c\na:\n  - é: [x, {y: 'z'}]\n")
    assert isinstance(root, ObjectNode)
    assert (root.line, root.column) == (2, 1)
    items = root.get("a")
    assert isinstance(items, ListNode)
    assert (items.line, items.column) == (3, 3)
    (item,) = items.items
    assert isinstance(item, ObjectNode)
    inner = item.get("é")
    assert isinstance(inner, ListNode)
    # Columns count characters, not bytes.
    assert [(n.line, n.column) for n in inner.items] == [(3, 9), (3, 12)]


@pytest.mark.parametrize(
    ("text", "value", "null"),
    [
        ("1.10", "1.10", False),
        ("0o17", "0o17", False),
        ("on", "on", False),
        ("~", "~", True),
        ("null", "null", True),
        ("'null'", "null", False),
        ("", "", True),
        ('""', "", False),
        ("!!str", "", False),
        ("!!str null", "null", False),
        ("a # comment", "a", False),
        ("2020-01-01", "2020-01-01", False),
    ],
)
def test_a_scalar_keeps_its_text(text: str, value: str, null: bool) -> None:
    root = clean(f"k: {text}\n")
    assert isinstance(root, ObjectNode)
    scalar = root.get("k")
    assert isinstance(scalar, ScalarNode)
    assert (scalar.text, scalar.null) == (value, null)


def test_comments_a_first_line_and_a_byte_order_mark_are_fine() -> None:
    root = clean("\ufeff#!/usr/bin/env x\n# c\n\n---\na: b # c\n")
    assert isinstance(root, ObjectNode)
    assert (root.line, root.column) == (5, 1)


def test_windows_line_ends_are_fine() -> None:
    root = clean("a: b\r\nc: d\r\n")
    assert isinstance(root, ObjectNode)
    assert [(k.text, k.line) for k, _ in root.entries] == [("a", 1), ("c", 2)]


@pytest.mark.parametrize(
    "text",
    [t.replace("§", "") for t, codes in WRONG.values() if "yaml-" not in codes]
    + [p.read_text() for p in sorted(RIGHT.glob("*.yaml"))],
)
def test_both_yaml_parsers_give_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for loader in (yaml.CSafeLoader, yaml.SafeLoader):
        monkeypatch.setattr(reader, "Loader", loader)
        found.append(load([DefinitionFile(path="f", content=text)]))
    assert found[0] == found[1]


def laughs(levels: int, width: int) -> str:
    lines = ["a0: &a0 " + "lol" * 10]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels + 1)]
    return "\n".join(lines) + "\n"


def test_a_billion_laughs_are_refused_before_they_cost_anything() -> None:
    tracemalloc.start()
    found, spent = cost(lambda: refused(laughs(9, 10)))
    assert found == "too-many-values"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 10_000
    assert peak < 4 << 20


def test_many_aliases_of_one_long_text_are_refused() -> None:
    text = "a: &a " + "x" * 500_000 + "\nb: [" + ", ".join(["*a"] * 20) + "]\n"
    assert refused(text) == "too-many-values"


def test_aliases_count_towards_the_depth() -> None:
    deep = "[" * 40 + "]" * 40
    assert refused(f"a: &a {deep}\nb: {'[' * 30}*a{']' * 30}\n") == "too-deep"


def test_few_aliases_are_repetition() -> None:
    root = clean("a: &x [1, 2]\nb: *x\n")
    assert isinstance(root, ObjectNode)
    assert root.get("a") == root.get("b")


@pytest.mark.parametrize(
    "text",
    ["[" * 500_000, "- " * 500_000, "{" * 500_000, "? " * 300_000, "a: " * 300_000, "&" * 500_000],
)
def test_endless_nesting_is_refused(text: str) -> None:
    assert refused(text) in {"too-deep", "key-not-text", "yaml-syntax"}


def test_half_a_character_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "Loader", yaml.SafeLoader)
    assert refused('a: "\\ud800"\n') == "unprintable-character"
    assert refused('a: "\\Uffffffff"\n') == "yaml-syntax"
    assert refused("a: \ud800\n") == "unprintable-character"
