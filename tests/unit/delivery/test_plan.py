"""What is delivered: ends of the graph, what only sinks read, and what is asked for."""

from __future__ import annotations

import pytest

from claraedge.delivery.plan import plan
from claraedge.errors import InvalidRequestError
from claraedge.pipelines.model import ContainerDefinition, Input, Operator, Output, Pipeline


def operator(name: str, outputs: list[str | None], *reads: tuple[str, str | None]) -> Operator:
    return Operator(
        name=name,
        container=ContainerDefinition(image="x", command=("run",)),
        inputs=tuple(Input(path="/in", source=source, name=output) for source, output in reads),
        outputs=tuple(Output(path="/out", name=output) for output in outputs),
    )


def pipeline(*operators: Operator) -> Pipeline:
    return Pipeline(api_version="0.4.0", name="p", operators=operators)


CHAIN = pipeline(operator("first", [None]), operator("last", [None], ("first", None)))
NAMED = pipeline(
    operator("split", ["Left", "right", "rest"]),
    operator("join", [None], ("split", "Left"), ("SPLIT", "right")),
    operator("Publish", [], ("join", None)),
)


@pytest.mark.parametrize(
    ("graph", "named", "expected"),
    [
        (pipeline(operator("only", [None])), [], ["only"]),
        (pipeline(operator("only", [])), [], []),
        (CHAIN, [], ["last"]),
        (CHAIN, ["first"], ["first", "last"]),
        (CHAIN, ["FIRST", "first"], ["first", "last"]),
        (CHAIN, ["last"], ["last"]),
        # An output that nobody reads, and one that only an operator without outputs reads.
        (NAMED, [], ["split/rest", "join"]),
        (NAMED, ["split/left"], ["split/Left", "split/rest", "join"]),
        (NAMED, ["split"], ["split/Left", "split/right", "split/rest", "join"]),
        (
            pipeline(
                operator("a", [None]),
                operator("b", [None], ("a", None)),
                operator("sink", [], ("a", None), ("b", None)),
            ),
            [],
            ["b"],  # a is read by an operator with outputs as well
        ),
    ],
)
def test_the_plan(graph: Pipeline, named: list[str], expected: list[str]) -> None:
    assert [delivered.folder for delivered in plan(graph, named)] == expected


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        (["spilt"], "did you mean `split`?"),
        (["split/rigth"], "did you mean `right`?"),
        (["join/out"], "write `join`"),
        (["publish"], "has no outputs"),
        (["zzz"], "its operators are `split`, `join`, `Publish`"),
    ],
)
def test_a_name_that_the_pipeline_does_not_have_is_refused(named: list[str], hint: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        plan(NAMED, named)
    assert hint in str(caught.value)


def test_all_wrong_names_are_reported_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        plan(NAMED, ["x", "split", "y"])
    assert len(caught.value.messages) == 2


VALUES = pipeline(
    Operator(
        name="split",
        container=ContainerDefinition(image="x", command=("run",)),
        outputs=(
            Output(path="/clara/fastio/output/mean", name="mean", type="f32"),
            Output(path="/out", name="mask", type="stream", element_type="m"),
        ),
    ),
    Operator(
        name="only",
        container=ContainerDefinition(image="x", command=("run",)),
        outputs=(Output(path="/clara/fastio/output/text", name="text", type="string"),),
    ),
)


def test_values_in_shared_memory_are_not_delivered() -> None:
    assert [delivered.folder for delivered in plan(VALUES)] == ["split/mask"]
    assert [delivered.folder for delivered in plan(VALUES, ["split"])] == ["split/mask"]


@pytest.mark.parametrize("named", ["split/Mean", "only", "only/text"])
def test_a_value_that_is_named_is_refused_with_a_reason(named: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        plan(VALUES, [named])
    assert "is a value in shared memory" in str(caught.value)


def register(name: str, *reads: tuple[str | None, str | None]) -> Operator:
    return Operator(
        name=name,
        container=ContainerDefinition(image="clara/register-results", command=("r",)),
        inputs=tuple(Input(path="/in", source=source, name=output) for source, output in reads),
    )


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        # Read by an operator with outputs as well.
        (
            pipeline(
                operator("a", [None]),
                operator("b", [None], ("a", None)),
                register("push", ("a", None)),
            ),
            [("a", "operators/a"), ("b", "operators/b")],
        ),
        # By output, and the whole of one with several.
        (
            pipeline(
                operator("a", ["x", "y"]),
                operator("b", [None], ("a", "x"), ("a", "y")),
                register("push", ("A", "X")),
            ),
            [("a/x", "operators/a/x"), ("b", "operators/b")],
        ),
        (
            pipeline(
                operator("a", ["x", "y"]),
                operator("b", [None], ("a", "x"), ("a", "y")),
                register("push", ("a", None)),
            ),
            [("a/x", "operators/a/x"), ("a/y", "operators/a/y"), ("b", "operators/b")],
        ),
        # The job's own input, under the name of who registers it.
        (
            pipeline(operator("a", [None]), register("push", (None, None), ("a", None))),
            [("a", "operators/a"), ("push", "input")],
        ),
    ],
)
def test_what_is_registered_as_a_result_is_delivered(
    graph: Pipeline, expected: list[tuple[str, str]]
) -> None:
    assert [(d.folder, d.source) for d in plan(graph)] == expected


def test_an_operator_that_reads_a_whole_folder_keeps_all_of_it_back() -> None:
    graph = pipeline(operator("a", ["x", "y"]), operator("b", [None], ("a", None)))
    assert [delivered.folder for delivered in plan(graph)] == ["b"]
