"""Any graph without a cycle loads and orders legally; any with one is refused and names it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from claraedge.pipelines.checks.load import Loaded, load
from claraedge.pipelines.export.render import with_graph
from claraedge.pipelines.model import DefinitionFile, Pipeline, decode, encode
from tests.bench import definition
from tests.campaign import CAMPAIGN

EXAMPLES = 3_000 if CAMPAIGN else 150
MOST = 30
"""Operators of a graph."""

#: A file that operators are imported from: it has an input if a parameter names one, and an output.
FILTER = """\
name: filter
parameters: {SOURCE: , TAG: v1}
container: {image: filter, tag: "${{ TAG }}"}
input: [{from: "${{ SOURCE }}", path: /first}]
output: [{path: /out}]
"""
SOURCE = "name: source\ncontainer: {image: source}\noutput: [{path: /out}]\n"


@dataclass
class Node:
    """An operator to be written."""

    name: str
    outputs: list[str | None]
    """[None]: one that has no name."""
    imported: bool = False
    """From a file, so that it has one output without a name."""
    reads: list[tuple[str, str | None]] = field(default_factory=list)
    """Operator and output; without an output, all that it has."""
    order: list[str] = field(default_factory=list)

    @property
    def upstream(self) -> set[str]:
        return {name for name, _ in self.reads}.union(self.order)


@dataclass
class Graph:
    nodes: list[Node]
    """In the order that they are written in."""
    spelling: Mapping[str, str]
    """Name -> as others write it: case does not matter."""

    def files(self) -> list[DefinitionFile]:
        operators = [self._entry(node) for node in self.nodes]
        root = {"api-version": "0.4.0", "name": "p", "operators": operators}
        return [
            DefinitionFile(path="p.yaml", content=yaml.safe_dump(root, sort_keys=False)),
            DefinitionFile(path="parts/filter.yaml", content=FILTER),
            DefinitionFile(path="parts/source.yaml", content=SOURCE),
        ]

    def load(self) -> Loaded:
        found = load(self.files())
        assert {p.code for p in found.warnings} <= {"unused-file"}
        return found

    def _entry(self, node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {"name": node.name}
        inputs = [
            {"path": f"/in{n}", "from": self.spelling[source]}
            | ({} if output is None else {"name": self.spelling.get(output, output)})
            for n, (source, output) in enumerate(node.reads)
        ]
        if not node.imported:
            found["container"] = {"image": "i"}
            found["input"] = inputs or [{"path": "/in"}]
            found["output"] = [
                {"path": f"/out{n}"} | ({} if name is None else {"name": name})
                for n, name in enumerate(node.outputs)
            ]
        elif len(inputs) == 1 and "name" not in inputs[0]:
            found["import"] = {
                "path": "parts/filter.yaml",
                "args": {"source": inputs[0]["from"], "TAG": "v2"},
            }
        else:  # the input is replaced
            found["import"] = {"path": "parts/source.yaml"}
            found["input"] = inputs
        if node.order:
            entries = [self.spelling[name] for name in node.order]
            found["order"] = [e if n % 2 else {"from": e} for n, e in enumerate(entries)]
        return found


words = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)


@st.composite
def graphs(draw: st.DrawFn, least: int = 1) -> Graph:
    """Each operator waits for some of those that were drawn before it; written in any order."""
    names = draw(st.lists(words, min_size=least, max_size=MOST, unique_by=str.casefold))
    nodes: list[Node] = []
    for name in names:
        imported = draw(st.booleans())
        outputs: list[str | None] = [None]
        if not imported:
            outputs = draw(
                st.sampled_from([[], [None], ["one"], ["Left", "right"], ["a", "b", "c", "D"]])
            )
        node = Node(name, list(outputs), imported)
        if nodes:
            for source in draw(st.lists(st.sampled_from(nodes), max_size=3)):
                choices: list[str | None] = [o for o in source.outputs if o is not None]
                if len(source.outputs) != 1 or choices == []:
                    choices.append(None)  # all of them, or the one without a name
                if source.outputs:
                    node.reads.append((source.name, draw(st.sampled_from(choices))))
            before = st.sampled_from([n.name for n in nodes])
            node.order = draw(st.lists(before, max_size=2, unique=True))
        nodes.append(node)
    cases: list[Callable[[str], str]] = [str, str.lower, str.upper, str.swapcase]
    spelling = {word: draw(st.sampled_from(cases))(word) for word in [*names, "one", "Left", "D"]}
    return Graph(list(draw(st.permutations(nodes))), {**{n: n for n in names}, **spelling})


def loaded(graph: Graph) -> Pipeline:
    found = graph.load()
    assert found.errors == ()
    assert found.pipeline is not None
    return found.pipeline


@given(graphs())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_graph_without_a_cycle_loads_and_orders(graph: Graph) -> None:
    pipeline = loaded(graph)
    upstream = {node.name: node.upstream for node in graph.nodes}
    assert [o.name for o in pipeline.operators] == [node.name for node in graph.nodes]
    for node, operator in zip(graph.nodes, pipeline.operators, strict=True):
        assert {(i.source, i.name) for i in operator.inputs if i.source} == set(node.reads)
        assert [o.name for o in operator.outputs] == node.outputs
        assert list(operator.order) == node.order
        assert operator.upstream == upstream[node.name]
    done: set[str] = set()
    for name in pipeline.sorter().static_order():
        assert upstream[name] <= done
        done.add(name)
    assert done == set(upstream)
    assert set(pipeline.roots()) == {name for name in upstream if not upstream[name]}
    downstream = pipeline.downstream()
    assert {(s, n) for n in upstream for s in upstream[n]} == {
        (s, n) for s, readers in downstream.items() for n in readers
    }


@given(graphs())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_graph_is_the_same_once_it_is_stored_or_rendered(graph: Graph) -> None:
    pipeline = loaded(graph)
    assert decode(encode(pipeline)) == pipeline
    rendered = load([DefinitionFile(path="p.yaml", content=with_graph(pipeline))])
    assert rendered.problems == ()
    assert rendered.pipeline == pipeline


@given(graphs(least=2), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_cycle_is_refused_and_named(graph: Graph, data: st.DataObject) -> None:
    ring = data.draw(st.lists(st.sampled_from(graph.nodes), min_size=2, max_size=6, unique_by=id))
    for reader, source in zip(ring, [*ring[1:], ring[0]], strict=True):
        if source.outputs in ([], ["one"]) or data.draw(st.booleans()):
            reader.order = [*dict.fromkeys([*reader.order, source.name])]
        else:
            reader.reads.append((source.name, None))
    found = graph.load()
    assert found.pipeline is None
    assert {p.code for p in found.errors} == {"cycle"}
    upstream = {node.name: node.upstream for node in graph.nodes}
    reported: set[str] = set()
    for problem in found.errors:
        members = problem.message.split("`")[1].split(" -> ")
        assert len(members) > 2
        assert members[0] == members[-1]
        assert len(set(members)) == len(members) - 1
        assert all(a in upstream[b] for a, b in itertools.pairwise(members))
        assert reported.isdisjoint(members)
        reported.update(members)


@given(st.text(max_size=300), st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_text_makes_it_raise(text: str, final: bool) -> None:
    result = load([DefinitionFile(path="p.yaml", content=text)], final=final)
    assert (result.pipeline is None) == bool(result.errors)


def chain(count: int) -> Graph:
    names = [f"o{n}" for n in range(count)]
    nodes = [Node(name, [None]) for name in names]
    for source, reader in itertools.pairwise(nodes):
        reader.reads.append((source.name, None))
    return Graph(nodes, {name: name for name in names})


def test_a_long_chain_and_a_long_cycle_load_without_recursion() -> None:
    graph = chain(3000)
    names = [node.name for node in graph.nodes]
    assert list(loaded(graph).sorter().static_order()) == names
    graph.nodes[0].order.append(names[-1])
    assert [p.code for p in graph.load().errors] == ["cycle"]


def test_the_definition_that_is_timed_is_whole() -> None:
    found = load(definition.files(200), final=True)
    assert found.problems == ()
    assert found.pipeline is not None
    assert len(list(found.pipeline.sorter().static_order())) == 200
