"""What `render` writes loads to an equal pipeline, and its graphs are legal and well formed."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from claraedge.pipelines import fastio
from claraedge.pipelines.checks.load import load
from claraedge.pipelines.export import drawing
from claraedge.pipelines.export.render import definition, with_graph
from claraedge.pipelines.model import (
    ContainerDefinition,
    DefinitionFile,
    HttpConnection,
    Input,
    Operator,
    Output,
    Pipeline,
    Requests,
    Service,
    VolumeConnection,
)

RIGHT = Path(__file__).parents[2] / "definitions" / "right"

# --- pipelines -----------------------------------------------------------------------------------

#: Texts that some reader of YAML reads as something else, or that need care when written.
TRAPS = ["1.10", "yes", "0x10", "1e3", "0o17", "null", "~", "", " ", "- a", "a: b", "#", "# x",
         "*a", "&a", "!a", "|", ">", "@x", "`x`", "%x", "{", "[", "'", '"', "\\", "a\nb", "a\n",
         "\na", "\n", " a\n b", "a \nb", "a\n\n", "a\tb", "\ta", "2001-01-01", "1_000", "12:30:45",
         "=", "<<", "---", "...", "a\r\nb", "a\x85b", "a\u2028b", "\ufeffa", "é\U0001f600",
         "$(HOME)", "?", "-", ":", "true", ".inf", "+1", "${{ LATER }}",
         "x" * 300, "a " * 200]  # fmt: skip
texts = st.one_of(
    st.sampled_from(TRAPS),
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0").filter(lambda c: c != "$"),
        max_size=40,
    ),
)
names = st.one_of(
    st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12),
    st.sampled_from(["yes", "null", "1e3", "0x10", "-", "--", "123", "_", "n" * 255]),
)
images = st.sampled_from(
    ["reader", "clara/dicom-reader", "registry.example:5000/a/b", "a@sha256:" + "0" * 64]
)
requests = st.builds(
    Requests,
    cpu=st.none() | st.integers(1, 1024),
    memory=st.none() | st.integers(1, 1 << 24),
    gpu=st.none() | st.integers(0, 64),
)
variables = st.dictionaries(
    st.from_regex(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,20}", fullmatch=True)
    | st.sampled_from(["yes", "null", "-", ".", "V" * 200]),
    texts,
    max_size=4,
)


@st.composite
def containers(draw: st.DrawFn) -> ContainerDefinition:
    image = draw(images)
    tags = st.sampled_from(["latest", "1.10", "1e3", "0x10", "yes", "null", "v1_2-rc.3"])
    return ContainerDefinition(
        image=image,
        tag="latest" if "@" in image else draw(tags),
        command=tuple(draw(st.lists(texts, max_size=4))),
    )


def unique(kind: st.SearchStrategy[str], least: int, most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(kind, min_size=least, max_size=most, unique_by=str.casefold)


@st.composite
def deployed_services(draw: st.DrawFn) -> Service:
    connections = draw(unique(st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True), 0, 3))
    return Service(
        name=draw(names),
        deployment=draw(names),
        component=draw(st.just("") | names),
        description=draw(texts),
        http=tuple(
            HttpConnection(name=n, port=draw(st.none() | st.integers(1, 65535)))
            for n in connections
        ),
    )


@st.composite
def container_services(draw: st.DrawFn) -> Service:
    connections = draw(unique(st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True), 1, 3))
    cut = draw(st.integers(0, len(connections)))
    return Service(
        name=draw(names),
        container=draw(containers()),
        description=draw(texts),
        variables=draw(variables),
        requests=draw(requests),
        http=tuple(
            HttpConnection(name=n, port=draw(st.none() | st.integers(1024, 65535)))
            for n in connections[:cut]
        ),
        volumes=tuple(
            VolumeConnection(name=n, path=f"/volume{i}") for i, n in enumerate(connections[cut:])
        ),
    )


def services() -> st.SearchStrategy[Service]:
    return container_services() | deployed_services()


@st.composite
def outputs(draw: st.DrawFn, typed: bool) -> tuple[Output, ...]:
    if not typed and draw(st.booleans()):
        return (Output(path="/out"),)
    made = []
    for index, name in enumerate(draw(unique(names, 0, 3))):
        kind = draw(st.sampled_from(["stream", "array", "string", "u8", "f64"])) if typed else None
        element, shape = None, None
        if kind == "stream":
            element = draw(st.sampled_from(["dicom", "mhd"]))
        elif kind == "array":
            element = draw(st.sampled_from(["f32", "u16"]))
            shape = tuple(draw(st.lists(st.sampled_from([-1, 1, 512]), min_size=1, max_size=3)))
        path = f"/out{index}" if kind in (None, "stream") else fastio.output_path(name)
        made.append(Output(path=path, name=name, type=kind, element_type=element, shape=shape))
    return tuple(made)


def reading(source: Operator, output: Output, index: int) -> Input:
    path = f"/in{index}"
    if output.in_memory:
        assert output.name is not None
        path = fastio.input_path(source.name, output.name)
    return Input(
        path=path,
        source=source.name,
        name=output.name,
        type=output.type,
        element_type=output.element_type,
        shape=output.shape,
    )


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    version = draw(st.sampled_from(["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0"]))
    typed = version >= "0.5.0"
    made: list[Operator] = []
    for name in draw(unique(names, 1, 6)):
        inputs = []
        if draw(st.booleans()):
            kind = {"type": "stream", "element_type": "dicom", "name": "in"} if typed else {}
            inputs.append(Input(path="/payload", **kind))
        readable = [(o, out) for o in made for out in o.outputs]
        if readable:
            chosen = draw(st.lists(st.sampled_from(readable), max_size=3, unique_by=str))
            inputs += [reading(o, out, i) for i, (o, out) in enumerate(chosen)]
        before = [o.name for o in made]
        order = draw(unique(st.sampled_from(before), 0, 2)) if before else []
        made.append(
            Operator(
                name=name,
                container=draw(containers()),
                description=draw(texts),
                inputs=tuple(inputs),
                outputs=draw(outputs(typed)),
                variables=draw(variables),
                requests=draw(requests),
                order=tuple(order),
                models=tuple(draw(unique(names, 0, 2))),
                services=tuple(draw(st.lists(services(), max_size=1))),
            )
        )
    made = draw(st.permutations(made))
    return Pipeline(
        api_version=version,
        name=draw(names),
        description=draw(texts),
        orchestrator=draw(st.sampled_from([None, "Clara"])),
        pull_secrets=tuple(draw(unique(names, 0, 2))),
        operators=tuple(made),
    )


def loaded(text: str) -> Pipeline:
    found = load([DefinitionFile(path="p.yaml", content=text)])
    assert found.errors == (), f"{[str(e) for e in found.errors]}\n{text}"
    assert found.pipeline is not None
    return found.pipeline


# --- the definition ------------------------------------------------------------------------------


# --- the definition ------------------------------------------------------------------------------


@given(pipelines())
@settings(max_examples=150, deadline=None)
def test_a_rendered_pipeline_loads_equal(pipeline: Pipeline) -> None:
    assert loaded(with_graph(pipeline)) == pipeline


@given(pipelines())
@settings(max_examples=50, deadline=None)
def test_any_yaml_reader_finds_the_same_texts(pipeline: Pipeline) -> None:
    found = yaml.safe_load(definition(pipeline))
    assert found["name"] == pipeline.name
    for written, operator in zip(found["operators"], pipeline.operators, strict=True):
        assert written["name"] == operator.name
        assert written.get("variables", {}) == operator.variables
        assert tuple(written["container"].get("command", ())) == operator.container.command
        assert written["container"].get("tag", "latest") == operator.container.tag


@pytest.mark.parametrize("name", sorted(p.stem for p in RIGHT.glob("*.yaml")))
def test_every_right_definition_is_rendered_to_an_equal_one(name: str) -> None:
    pipeline = loaded((RIGHT / f"{name}.yaml").read_text())
    assert loaded(with_graph(pipeline)) == pipeline


def test_is_written_as_people_write_it() -> None:
    pipeline = Pipeline(
        api_version="0.4.0",
        name="p",
        operators=(
            Operator(
                name="reader",
                container=ContainerDefinition(
                    image="clara/reader", tag="1.10", command=("run", "a\nb\n")
                ),
                inputs=(Input(path="/in"),),
                outputs=(Output(path="/out"),),
                variables={"SAY": "yes", "LATER": "${{ later }}"},
            ),
            Operator(name="end", container=ContainerDefinition(image="end"), order=("reader",)),
        ),
    )
    assert with_graph(pipeline) == (
        "api-version: 0.4.0\n"
        "name: p\n"
        "parameters:\n"
        "  later: null\n"
        "\n"
        "operators:\n"
        "  - name: reader\n"
        "    container:\n"
        "      image: clara/reader\n"
        "      tag: '1.10'\n"
        "      command:\n"
        "        - run\n"
        "        - |\n"
        "          a\n"
        "          b\n"
        "    input:\n"
        "      - path: /in\n"
        "    output:\n"
        "      - path: /out\n"
        "    variables:\n"
        "      SAY: 'yes'\n"
        "      LATER: ${{ later }}\n"
        "\n"
        "  - name: end\n"
        "    container:\n"
        "      image: end\n"
        "    order:\n"
        "      - reader\n"
        "\n"
        "# 1  reader\n"
        "# 2  end <- reader (order)\n"
    )


# --- the graph -----------------------------------------------------------------------------------


def graph(*operators: Operator) -> Pipeline:
    return Pipeline(api_version="0.4.0", name="p", operators=operators)


def operator(
    name: str,
    *reads: tuple[str, str | None],
    order: tuple[str, ...] = (),
    outputs: tuple[str | None, ...] = (None,),
) -> Operator:
    return Operator(
        name=name,
        container=ContainerDefinition(image="i"),
        inputs=tuple(
            Input(path=f"/in{i}", source=source, name=output)
            for i, (source, output) in enumerate(reads)
        ),
        outputs=tuple(Output(path=f"/out{i}", name=n) for i, n in enumerate(outputs)),
        order=order,
    )


FAN = graph(
    operator("report", ("split", None), ("tags", None), order=("clean", "tags")),
    operator("split", outputs=("left", "right")),
    operator("tags", ("split", "left"), ("split", "right"), ("split", "left")),
    operator("clean", order=("split",)),
)


def test_text_shows_levels_outputs_and_order() -> None:
    assert drawing.text(FAN) == (
        "1  split\n"
        "2  tags <- split/left, split/right\n"
        "2  clean <- split (order)\n"
        "3  report <- split/*, tags, clean (order)\n"
    )


def test_dot_labels_outputs_and_dashes_order() -> None:
    assert drawing.dot(FAN) == (
        'digraph "p" {\n  rankdir=LR;\n  node [shape=box];\n'
        '  "report";\n  "split";\n  "tags";\n  "clean";\n'
        '  "split" -> "report" [label="*"];\n'
        '  "tags" -> "report";\n'
        '  "clean" -> "report" [style=dashed];\n'
        '  "split" -> "tags" [label="left"];\n'
        '  "split" -> "tags" [label="right"];\n'
        '  "split" -> "clean" [style=dashed];\n'
        "}\n"
    )


def test_mermaid_labels_outputs_and_dashes_order() -> None:
    assert drawing.mermaid(FAN) == (
        'flowchart LR\n  n1["report"]\n  n2["split"]\n  n3["tags"]\n  n4["clean"]\n'
        '  n2 -->|"*"| n1\n  n3 --> n1\n  n4 -.-> n1\n'
        '  n2 -->|"left"| n3\n  n2 -->|"right"| n3\n  n2 -.-> n4\n'
    )


def test_names_that_graphs_could_misread_are_quoted() -> None:
    awkward = '${{ a }}"]\\\n<b>#`'
    pipeline = graph(operator(awkward), operator("end", (awkward, None)))
    assert drawing.text(pipeline).count("\n") == 2
    assert '  "${{ a }}\\"]\\\\\\\\n<b>#`";\n' in drawing.dot(pipeline)
    assert '  n1["${{ a }}#quot;]\\\\n#lt;b#gt;#35;#96;"]\n' in drawing.mermaid(pipeline)


@given(pipelines())
@settings(max_examples=60, deadline=None)
def test_levels_are_a_legal_order_of_all_operators(pipeline: Pipeline) -> None:
    done: set[str] = set()
    for level in drawing.levels(pipeline):
        for name in level:
            found = pipeline.operator(name)
            assert found is not None
            assert found.upstream <= done
        done.update(level)
    assert done == {o.name for o in pipeline.operators}
    lines = drawing.text(pipeline).splitlines()
    assert len(lines) == len(done)
    assert all(re.match(r" *\d+  \S", line) for line in lines)
