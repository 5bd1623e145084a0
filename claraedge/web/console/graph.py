"""Draws the operators of a pipeline as a graph: from the left to the right, in layers.

An operator is one layer after the last of those that it waits for. Within a layer, operators are
ordered by the mean place of their neighbours, so that few lines cross.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from markupsafe import Markup

#: Pixels: an operator, and the gaps between two of them.
_WIDTH, _HEIGHT = 184, 52
_ACROSS, _DOWN = 56, 20
_EDGE = 8
#: Characters of a name that fit into its box.
_LONGEST = 20
#: How often each layer is ordered by its neighbours.
_SWEEPS = 4
#: Shapes of the kinds of states.
_MARKS = {
    "plain": Markup(""),
    "well": Markup('<path d="M3 8.5 6.5 12 13 4.5" class="mark line"/>'),
    "run": Markup('<path d="M4 3 13 8 4 13Z" class="mark"/>'),
    "wait": Markup('<circle cx="8" cy="8" r="5" class="mark line"/>'),
    "bad": Markup(
        '<path d="M8 2 14.5 13.5H1.5Z" class="mark line"/><path d="M8 6v4" class="mark line"/>'
    ),
    "stop": Markup('<rect x="4" y="4" width="8" height="8" class="mark"/>'),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operator."""

    name: str
    after: Sequence[str]
    """The operators whose outputs it reads."""
    follows: Sequence[str] = ()
    """The operators that only have to end before it starts."""
    kind: str = "wait"
    """What its state is like: `well`, `run`, `wait`, `bad` or `stop`; `plain`: it has none."""
    label: str = ""
    """Its state in words."""
    link: str = ""
    """The path of its page."""


def drawn(nodes: Iterable[Node], title: str) -> Markup:
    """Returns the graph as SVG; empty where there is no order, since operators wait in a circle.

    `title`: what the picture shows, for those who cannot see it.
    """
    known = {node.name: node for node in nodes}
    before = {
        name: [one for one in dict.fromkeys([*node.after, *node.follows]) if one in known]
        for name, node in known.items()
    }
    try:
        layers = _layers(before)
    except CycleError:
        return Markup("")
    if not layers:
        return Markup("")
    places = _places(layers)
    width = 2 * _EDGE + len(layers) * _WIDTH + (len(layers) - 1) * _ACROSS
    tallest = max(map(len, layers))
    height = 2 * _EDGE + tallest * _HEIGHT + (tallest - 1) * _DOWN
    lines = Markup("").join(
        _line(places[one], places[name], one in node.after)
        for name, node in known.items()
        for one in before[name]
    )
    boxes = Markup("").join(_box(node, *places[name]) for name, node in known.items())
    return Markup(
        '<svg class="graph" role="img" width="{0}" height="{1}" viewBox="0 0 {0} {1}">'
        "<title>{2}</title>{3}{4}</svg>"
    ).format(width, height, title, lines, boxes)


def _layers(before: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Returns the names by their layer. Raises CycleError."""
    depth: dict[str, int] = {}
    for name in TopologicalSorter(before).static_order():
        depth[name] = 1 + max((depth[one] for one in before[name]), default=-1)
    layers: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for name in before:  # as in the definition
        layers[depth[name]].append(name)
    after: dict[str, list[str]] = {name: [] for name in before}
    for name, ones in before.items():
        for one in ones:
            after[one].append(name)
    for sweep in range(_SWEEPS):
        neighbours = after if sweep % 2 else before
        place = {name: at for layer in layers for at, name in enumerate(layer)}
        for layer in layers:
            mean = {n: _mean([place[one] for one in neighbours[n]], place[n]) for n in layer}
            layer.sort(key=mean.__getitem__)
    return layers


def _mean(places: Sequence[int], own: int) -> float:
    return sum(places) / len(places) if places else float(own)


def _places(layers: Sequence[Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Returns the upper left corner of each box."""
    tallest = max(map(len, layers))
    step = _HEIGHT + _DOWN
    found = {}
    for at, layer in enumerate(layers):
        top = _EDGE + (tallest - len(layer)) * step // 2
        for row, name in enumerate(layer):
            found[name] = (_EDGE + at * (_WIDTH + _ACROSS), top + row * step)
    return found


def _line(start: tuple[int, int], end: tuple[int, int], reads: bool) -> Markup:
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    x2, y2 = end[0], end[1] + _HEIGHT // 2
    bend = (x2 - x1) // 2 if x2 - x1 < 2 * _ACROSS else _ACROSS
    return Markup(
        '<path class="edge{}" d="M{} {}C{} {} {} {} {} {}"/><path class="tip" d="M{} {}l-6 -4v8z"/>'
    ).format("" if reads else " order", x1, y1, x1 + bend, y1, x2 - bend, y2, x2 - 5, y2, x2, y2)


def _box(node: Node, x: int, y: int) -> Markup:
    name = node.name if len(node.name) <= _LONGEST else f"{node.name[: _LONGEST - 1]}…"
    box = Markup(
        '<g class="node {kind}" transform="translate({x} {y})"><title>{full}: {label}</title>'
        '<rect width="{width}" height="{height}" rx="6"/>'
        '<svg x="10" y="28" width="16" height="16" viewBox="0 0 16 16">{mark}</svg>'
        '<text x="10" y="20" class="title">{name}</text>'
        '<text x="{indent}" y="41">{label}</text></g>'
    ).format(
        kind=node.kind,
        x=x,
        y=y,
        full=node.name,
        label=node.label,
        width=_WIDTH,
        height=_HEIGHT,
        mark=_MARKS[node.kind],
        indent=32 if _MARKS[node.kind] else 10,
        name=name,
    )
    return Markup('<a href="{}">{}</a>').format(node.link, box) if node.link else box
