"""Draws the graph of a pipeline: as text, and for Graphviz and Mermaid. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from claraedge.pipelines.model import Input, Pipeline

WHOLE_FOLDER = "*"
"""Represents all outputs of an operator together."""


class Edge(NamedTuple):
    """An operator, `target`, that waits for another one, `source`."""

    source: str
    target: str
    output: str | None
    """What is read: the name of an output, `WHOLE_FOLDER`, or None for the only, unnamed output."""
    order: bool
    """Whether nothing is read, and the source only has to run first."""


def levels(pipeline: Pipeline) -> tuple[tuple[str, ...], ...]:
    """Returns names of operators in an executable order: each level waits only for earlier ones.

    Within a level, names are in the order of the definition.
    """
    place = {o.name: index for index, o in enumerate(pipeline.operators)}
    sorter = pipeline.sorter()
    sorter.prepare()
    found = []
    while sorter.is_active():
        level = tuple(sorted(sorter.get_ready(), key=place.__getitem__))
        sorter.done(*level)
        found.append(level)
    return tuple(found)


def edges(pipeline: Pipeline) -> tuple[Edge, ...]:
    """Returns all edges, each once, in the order of the definition.

    An `order` in addition to an input from the same operator has no effect and is left out.
    """
    return tuple(dict.fromkeys(_edges(pipeline)))


def _edges(pipeline: Pipeline) -> Iterator[Edge]:
    several = {o.name for o in pipeline.operators if len(o.outputs) > 1}
    for operator in pipeline.operators:
        for entry in operator.inputs:
            if entry.source is not None:
                output = _output(entry, entry.source in several)
                yield Edge(entry.source, operator.name, output, order=False)
        for source in operator.order:
            if source not in operator.sources:
                yield Edge(source, operator.name, None, order=True)


def _output(entry: Input, several: bool) -> str | None:
    return WHOLE_FOLDER if entry.name is None and several else entry.name


def text(pipeline: Pipeline) -> str:
    """Draws one line per operator, by levels: `3  report <- split/mask, tags, cleanup (order)`."""
    steps = levels(pipeline)
    width = len(str(len(steps)))
    waits: dict[str, list[str]] = {o.name: [] for o in pipeline.operators}
    for edge in edges(pipeline):
        read = edge.source if edge.output is None else f"{edge.source}/{edge.output}"
        waits[edge.target].append(f"{read} (order)" if edge.order else read)
    lines = []
    for number, level in enumerate(steps, 1):
        for name in level:
            arrow = f" <- {', '.join(waits[name])}" if waits[name] else ""
            lines.append(f"{number:>{width}}  {_one_line(name + arrow)}")
    return "\n".join(lines) + "\n"


def dot(pipeline: Pipeline) -> str:
    """Draws for Graphviz: edges have the names of outputs as labels, those of `order`
    are dashed.
    """
    lines = [f"digraph {_dot(pipeline.name)} {{", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  {_dot(o.name)};" for o in pipeline.operators]
    for edge in edges(pipeline):
        style = ""
        if edge.order:
            style = " [style=dashed]"
        elif edge.output is not None:
            style = f" [label={_dot(edge.output)}]"
        lines.append(f"  {_dot(edge.source)} -> {_dot(edge.target)}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(pipeline: Pipeline) -> str:
    """Draws for Mermaid: edges have the names of outputs as labels, those of `order` are dashed."""
    # Use generated ids: a name may be a keyword of Mermaid, such as `end`.
    ids = {o.name: f"n{number}" for number, o in enumerate(pipeline.operators, 1)}
    lines = ["flowchart LR", *(f"  {ids[o.name]}[{_mermaid(o.name)}]" for o in pipeline.operators)]
    for edge in edges(pipeline):
        arrow = "-.->" if edge.order else "-->"
        if edge.output is not None:
            arrow += f"|{_mermaid(edge.output)}|"
        lines.append(f"  {ids[edge.source]} {arrow} {ids[edge.target]}")
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    """Escapes what is not printable: a name with an open placeholder may contain any character."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _dot(text: str) -> str:
    quoted = _one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _mermaid(text: str) -> str:
    special = {'"': "quot", "#": "35", "<": "lt", ">": "gt", "&": "amp", "`": "96"}
    return '"' + "".join(f"#{special[c]};" if c in special else c for c in _one_line(text)) + '"'


FORMS: Mapping[str, Callable[[Pipeline], str]] = {"text": text, "dot": dot, "mermaid": mermaid}
"""Name of a format -> its drawing function."""
