"""Graphs of operators, as SVG."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from claraedge.web.console.graph import Node, drawn

SVG = "{http://www.w3.org/2000/svg}"


def picture(nodes: Sequence[Node]) -> tuple[ElementTree.Element, Mapping[str, tuple[int, int]]]:
    """The drawing, and the place of each box by the operator's whole name."""
    text = str(drawn(nodes, "title"))
    root = ElementTree.fromstring(
        text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    )
    places = {}
    for group in root.iter(f"{SVG}g"):
        title = group.findtext(f"{SVG}title")
        found = re.fullmatch(r"translate\((\d+) (\d+)\)", group.attrib["transform"])
        assert title is not None
        assert found is not None
        places[title.partition(": ")[0]] = (int(found[1]), int(found[2]))
    return root, places


def test_operators_stand_after_those_that_they_wait_for() -> None:
    nodes = [
        Node(name="d", after=["b", "c"]),
        Node(name="a", after=[]),
        Node(name="b", after=["a"]),
        Node(name="c", after=["a"], follows=["b"]),
    ]
    root, at = picture(nodes)
    assert at["a"][0] < at["b"][0] < at["c"][0] < at["d"][0]
    edges = [path.attrib["class"] for path in root.iter(f"{SVG}path")]
    assert edges.count("edge") == 4
    assert edges.count("edge order") == 1


@pytest.mark.parametrize("seed", range(20))
def test_no_two_boxes_overlap_and_all_are_within_the_picture(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"n{i}" for i in range(chance.randint(1, 40))]
    nodes = [
        Node(name=name, after=chance.sample(names[:i], chance.randint(0, min(i, 3))))
        for i, name in enumerate(names)
    ]
    chance.shuffle(nodes)
    root, at = picture(nodes)
    assert set(at) == set(names)
    boxes = sorted(at.values())
    assert len(set(boxes)) == len(boxes)
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    for x, y in boxes:
        assert 0 <= x <= width - 184
        assert 0 <= y <= height - 52
    for node in nodes:
        assert all(at[one][0] < at[node.name][0] for one in node.after)
    for one, other in pairwise(boxes):
        assert one[0] != other[0] or other[1] - one[1] >= 52


def test_names_are_text_and_not_markup() -> None:
    name = "</title><script>alert(1)</script>"
    root, at = picture([Node(name=name, after=[], label="<b>", link='/ui/"><x')])
    assert list(at) == [name]
    assert not list(root.iter(f"{SVG}script"))
    assert root.find(f"{SVG}a") is not None


def test_what_waits_in_a_circle_or_is_nothing_has_no_picture() -> None:
    assert drawn([], "t") == ""
    assert drawn([Node(name="a", after=["b"]), Node(name="b", after=["a"])], "t") == ""


def test_an_operator_that_is_not_there_is_left_out() -> None:
    _, at = picture([Node(name="a", after=["gone"])])
    assert list(at) == ["a"]
