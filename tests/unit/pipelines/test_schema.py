"""The shipped JSON schema is that of the declarations; it accepts what is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from test_render import pipelines
from wrong_definitions import WRONG

from claraedge.pipelines.checks.load import load
from claraedge.pipelines.export import schema
from claraedge.pipelines.export.render import definition
from claraedge.pipelines.model import DefinitionFile, Pipeline

ROOT = Path(__file__).parents[3]
RIGHT = sorted((ROOT / "tests/definitions/right").rglob("*.yaml"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(schema.schema())


class Loader(yaml.SafeLoader):
    """Numbers and truth values as YAML has them, and no dates, which YAML 1.2 does not have."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def problems(text: str) -> list[str]:
    return [e.message for e in VALIDATOR.iter_errors(yaml.load(text, Loader))]


def test_the_shipped_file_is_what_the_declarations_say() -> None:
    shipped = ROOT / "claraedge/pipelines/definition.schema.json"
    assert shipped.read_text() == schema.text(), "run build/schema"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.schema())


@pytest.mark.parametrize("path", [*RIGHT, *EXAMPLES], ids=lambda p: p.stem)
def test_right_definitions_are_accepted(path: Path) -> None:
    assert problems(path.read_text()) == []


@given(pipelines())
@settings(max_examples=60, deadline=None)
def test_every_rendered_pipeline_is_accepted(pipeline: Pipeline) -> None:
    assert problems(definition(pipeline)) == []


def wrong() -> Iterator[tuple[str, str, bool]]:
    """Name, text, and whether the schema accepts it, of those that any reader of YAML reads."""
    for name, (marked, _) in WRONG.items():
        text = marked.replace("§", "")
        try:
            document = yaml.load(text, Loader)
        except (yaml.YAMLError, ValueError):  # a number of 5000 digits
            continue
        yield name, text, VALIDATOR.is_valid(document)


def test_a_good_part_of_the_wrong_definitions_is_refused() -> None:
    found = {name: accepted for name, _, accepted in wrong()}
    refused = {name for name, accepted in found.items() if not accepted}
    assert len(refused) >= len(found) // 2, sorted(found.keys() - refused)
    assert refused >= {"no api-version", "no name", "no operators", "operator is a text"}


def test_what_the_schema_refuses_the_loader_refuses() -> None:
    for name, text, accepted in wrong():
        loaded = load([DefinitionFile(path="p.yaml", content=text)])
        assert accepted or loaded.errors, name


HEAD = "api-version: 0.4.0\nname: p\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "operators: []\n", "[] should be non-empty"),
        (HEAD + "operators:\n- name: a\n", "'container' is a required property"),
        (HEAD + "orchestrator: clara\noperators: [{import: a.yaml}]\n", "is not valid under any"),
        ("name: op\ncontainer: {tag: '1'}\n", "'image' is a required property"),
        ("name: op\ncontainer: {image: i}\ninput: [{path: in}]\n", "'in' does not match"),
        (
            "name: op\ncontainer: {image: i}\noutput: [{name: a, type: array}]\n",
            "'element-type' is a required property",
        ),
        (
            "name: s\ncontainer: {image: i}\nconnections: {http: [{name: A, port: 80}]}\n",
            "80 is less than the minimum of 1024",
        ),
    ],
)
def test_each_kind_of_file_is_checked_as_what_it_is(text: str, said: str) -> None:
    found = problems(text)
    assert any(said in message for message in found), found


@pytest.mark.parametrize(
    "text",
    [
        "parameters: {N: }\ncontainer: {image: '${{ N }}'}\nrequests: {gpu: '${{ N }}'}\n",
        "container: {image: i}\n",
        "import: {path: other.yaml}\ninput:\n",
        "name: s\ncontainer: {image: i}\nconnections: {http: [{name: A}], file: []}\n",
        HEAD + "operators:\n- import: a.yaml\n- {name: 7, container: {image: i, tag: 1.10}}\n",
    ],
)
def test_each_kind_of_file_is_accepted(text: str) -> None:
    assert problems(text) == []


def test_the_schema_lets_editors_warn_of_unknown_properties() -> None:
    definitions = schema.schema()["$defs"]
    assert all(part["additionalProperties"]["deprecationMessage"] for part in definitions.values())
    assert problems(HEAD + "colour: red\noperators: [{import: a.yaml, colour: red}]\n") == []
