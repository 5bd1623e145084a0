"""Right definitions load, each to exactly its expected form; see `corpus`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import msgspec
import pytest

from claraedge.pipelines.checks.load import load
from claraedge.pipelines.export.render import with_graph
from claraedge.pipelines.model import DefinitionFile, decode, encode
from claraedge.pipelines.syntax import grammar
from claraedge.pipelines.syntax.documents import Documents
from claraedge.pipelines.syntax.nodes import ListNode, Node, ObjectNode, ScalarNode
from claraedge.pipelines.syntax.problems import Problem, Report
from claraedge.pipelines.syntax.reader import read
from tests.definitions import corpus

SETS = [name for name in corpus.NAMES if (corpus.RIGHT / name).is_dir()]


def test_there_are_definitions_to_load() -> None:
    assert len(corpus.NAMES) >= 40
    assert len(SETS) >= 7
    here = {path.stem for path in corpus.RIGHT.iterdir() if path.suffix != ".json"}
    assert here == set(corpus.NAMES)


@pytest.mark.parametrize("name", corpus.NAMES)
def test_loads_to_its_expected_form(name: str) -> None:
    expected = corpus.expected(name)
    found = corpus.loaded(name)
    assert found.errors == ()
    assert found.pipeline is not None
    assert json.loads(encode(found.pipeline)) == expected["pipeline"]
    assert [place(p, name) for p in found.warnings] == expected.get("warnings", [])


def place(problem: Problem, name: str) -> str:
    file = f"{problem.file}:" if name in SETS else ""
    return f"{problem.code}:{file}{problem.line}"


@pytest.mark.parametrize("name", corpus.NAMES)
def test_its_snapshot_reads_back_equal(name: str) -> None:
    pipeline = corpus.loaded(name).pipeline
    assert pipeline is not None
    assert decode(encode(pipeline)) == pipeline


@pytest.mark.parametrize("name", corpus.NAMES)
def test_what_is_rendered_loads_to_an_equal_pipeline(name: str) -> None:
    pipeline = corpus.loaded(name).pipeline
    assert pipeline is not None
    if name == "import-nested":  # a file without types in a pipeline that asks for them
        pipeline = msgspec.structs.replace(pipeline, api_version="0.4.0")
    rendered = load([DefinitionFile(path="p.yaml", content=with_graph(pipeline))])
    assert rendered.pipeline == pipeline


@pytest.mark.parametrize("name", corpus.NAMES)
def test_is_the_same_with_the_line_ends_of_windows(name: str) -> None:
    files = corpus.files(name)
    windows = [
        DefinitionFile(path=f.path.replace("/", "\\"), content=f.content.replace("\n", "\r\n"))
        for f in files
    ]
    assert load(windows).pipeline == load(files).pipeline


# --- coverage ------------------------------------------------------------------------------------

#: Properties of each object of the grammar that definitions hold.
Properties = set[tuple[str, str]]


def written(kind: type[grammar.Object], node: Node | None) -> Iterator[tuple[str, str]]:
    """(object, property) of a node and of what stands inside it, as the grammar has them."""
    if not isinstance(node, ObjectNode):
        return
    for field in msgspec.structs.fields(kind):
        value = node.get(field.encode_name)
        if value is None or (isinstance(value, ScalarNode) and value.null):
            continue
        yield kind.__name__, field.encode_name
        nodes: Sequence[Node] = value.items if isinstance(value, ListNode) else [value]
        for inner in objects(msgspec.inspect.type_info(field.type)):
            for each in nodes:
                yield from written(inner, each)


def objects(info: msgspec.inspect.Type) -> Iterator[type[grammar.Object]]:
    match info:
        case msgspec.inspect.UnionType():
            for each in info.types:
                yield from objects(each)
        case msgspec.inspect.Metadata():
            yield from objects(info.type)
        case msgspec.inspect.ListType():
            yield from objects(info.item_type)
        case msgspec.inspect.StructType():
            assert issubclass(info.cls, grammar.Object)
            yield info.cls


def kinds(root: ObjectNode, imported: set[str]) -> type[grammar.Object]:
    """Which document a file is: services are those that are imported under `services`."""
    if root.get("operators") is not None:
        return grammar.PipelineDocument
    return grammar.ServiceDocument if root.file in imported else grammar.OperatorDocument


def imported_services(files: Sequence[DefinitionFile]) -> set[str]:
    """Files that some entry of `services` names."""
    report = Report()
    documents = Documents(files, report)
    found = set()
    for file in files:
        root = read(file.content, file.path, report)
        for entry in walk(root, "services") if root is not None else ():
            written = entry.get("import")
            path = written.get("path") if isinstance(written, ObjectNode) else written
            if isinstance(path, ScalarNode) and "${{" not in path.text:
                document = documents.imported(path)
                assert document is not None
                found.add(document.path)
    return found


def walk(node: Node, name: str) -> Iterator[ObjectNode]:
    """Objects in every list of this name."""
    if isinstance(node, ObjectNode):
        value = node.get(name)
        if isinstance(value, ListNode):
            yield from (item for item in value.items if isinstance(item, ObjectNode))
    for child in node.children():
        yield from walk(child, name)


def test_every_property_of_the_grammar_stands_in_a_right_definition() -> None:
    found: Properties = set()
    for name in corpus.NAMES:
        files = corpus.files(name)
        services = imported_services(files)
        for file in files:
            root = read(file.content, file.path, Report())
            if isinstance(root, ObjectNode):
                found.update(written(kinds(root, services), root))
    declared = {
        (kind.__name__, name)
        for kind in all_objects(grammar.Object)
        if not kind.__subclasses__() or kind in {grammar.OperatorEntry}
        for name in grammar.properties(kind)
    }
    assert sorted(declared - found) == []


def all_objects(kind: type[grammar.Object]) -> Iterator[type[grammar.Object]]:
    for each in kind.__subclasses__():
        yield each
        yield from all_objects(each)


def test_every_version_and_every_type_stands_in_a_right_definition() -> None:
    pipelines = [pipeline for n in corpus.NAMES if (pipeline := corpus.loaded(n).pipeline)]
    assert {p.api_version for p in pipelines} == set(grammar.API_VERSIONS)
    entries = [e for p in pipelines for o in p.operators for e in (*o.inputs, *o.outputs)]
    numbers = {f"{kind}{bits}" for kind in "uif" for bits in (8, 16, 32, 64)} - {"f8"}
    assert {e.type for e in entries} == numbers | {None, "stream", "array", "string"}
