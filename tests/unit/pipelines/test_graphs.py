"""Properties of the language over generated definitions."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from claraedge.pipelines.load import load
from claraedge.pipelines.model import DefinitionFile, Pipeline, decode, encode
from tests.campaign import CAMPAIGN

EXAMPLES = 10_000 if CAMPAIGN else 300
RIGHT = sorted((Path(__file__).parents[2] / "definitions" / "right").glob("*.yaml"))

Edges = dict[str, list[str]]


def definition(edges: Edges, order: list[str]) -> str:
    operators = []
    for name in order:
        inputs = [{"path": f"/in{n}", "from": s} for n, s in enumerate(edges[name])]
        operators.append(
            {
                "name": name,
                "container": {"image": "i"},
                "input": inputs or [{"path": "/in"}],
                "output": [{"path": "/out"}],
            }
        )
    return yaml.safe_dump({"api-version": "0.4.0", "name": "p", "operators": operators})


def loaded(text: str) -> Pipeline:
    result = load([DefinitionFile(path="p.yaml", content=text)])
    assert result.problems == ()
    assert result.pipeline is not None
    return result.pipeline


names = st.lists(
    st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
    min_size=1,
    max_size=25,
    unique_by=str.casefold,
)


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[Edges, list[str]]:
    """Edges, each to a name drawn before, and any order of writing."""
    drawn = draw(names)
    edges = {
        name: draw(st.lists(st.sampled_from(drawn[:n]), max_size=3, unique=True)) if n else []
        for n, name in enumerate(drawn)
    }
    return edges, draw(st.permutations(drawn))


@given(acyclic())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_graph_without_a_cycle_loads_and_orders(graph: tuple[Edges, list[str]]) -> None:
    edges, order = graph
    pipeline = loaded(definition(edges, order))
    assert [o.name for o in pipeline.operators] == order
    done: set[str] = set()
    for name in pipeline.sorter().static_order():
        assert set(edges[name]) <= done
        done.add(name)
    assert done == set(edges)
    assert set(pipeline.roots()) == {n for n in edges if not edges[n]}
    downstream = pipeline.downstream()
    assert {(s, n) for n in edges for s in edges[n]} == {
        (s, n) for s, readers in downstream.items() for n in readers
    }
    assert decode(encode(pipeline)) == pipeline


@given(acyclic(), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_cycle_is_refused_and_named(
    graph: tuple[Edges, list[str]], data: st.DataObject
) -> None:
    edges, order = graph
    if len(order) < 2:
        return
    ring = data.draw(st.lists(st.sampled_from(order), min_size=2, max_size=6, unique=True))
    for reader, source in zip(ring, [*ring[1:], ring[0]], strict=True):
        if source not in edges[reader]:
            edges[reader].append(source)
    result = load([DefinitionFile(path="p.yaml", content=definition(edges, order))])
    assert result.pipeline is None
    assert {p.code for p in result.problems} == {"cycle"}
    for problem in result.problems:
        members = problem.message.split("`")[1].split(" -> ")
        assert len(members) > 2
        assert members[0] == members[-1]
        assert len(set(members)) == len(members) - 1
        assert all(a in edges[b] for a, b in itertools.pairwise(members))


@given(st.text(max_size=300))
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_text_makes_it_raise(text: str) -> None:
    result = load([DefinitionFile(path="p.yaml", content=text)], final=True)
    assert (result.pipeline is None) == bool(result.errors)


@given(st.sampled_from(RIGHT), st.integers(0, 2**32), st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_mutation_makes_it_raise_or_hang(path: Path, seed: int, final: bool) -> None:
    rng = random.Random(seed)
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(5):
            case 0:
                text = text[:at] + text[at + rng.randint(1, 20) :]
            case 1:
                text = text[:at] + rng.choice("[]{}:,-&*!|>'\"%@`#?$\t\n\0é ~") + text[at:]
            case 2:
                text = text[:at] + rng.choice(lines) + text[at:]
            case 3:
                text = (
                    text[:at] + rng.choice(["${{ X }}", "<<: *a", "&a ", "*a", "!!x "]) + text[at:]
                )
            case _:
                text = text.replace(
                    rng.choice(text.split() or ["a"]), rng.choice(text.split() or ["b"])
                )
    begin = time.process_time()
    result = load([DefinitionFile(path="p.yaml", content=text)], {"TAG": "x"}, final=final)
    assert time.process_time() - begin < 1
    assert (result.pipeline is None) == bool(result.errors)
    last = len(text.splitlines()) + 2
    for problem in result.problems:
        assert 1 <= problem.line <= last
        assert problem.column >= 1
        assert problem.fix
        str(problem).encode()
    if result.pipeline is not None:
        assert decode(encode(result.pipeline)) == result.pipeline
        assert list(result.pipeline.sorter().static_order())


def test_a_long_chain_and_a_long_cycle_load_without_recursion() -> None:
    count = 3000
    order = [f"o{n}" for n in range(count)]
    edges = {name: [order[n - 1]] if n else [] for n, name in enumerate(order)}
    assert list(loaded(definition(edges, order)).sorter().static_order()) == order
    edges["o0"] = [order[-1]]
    result = load([DefinitionFile(path="p.yaml", content=definition(edges, order))])
    assert [p.code for p in result.problems] == ["cycle"]
