"""Parameters: arguments over defaults, and placeholders that find no value."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from claraedge.pipelines.checks.load import Loaded, load
from claraedge.pipelines.model import DefinitionFile

TEXT = """\
api-version: 0.4.0
name: p
parameters:
  TAG: v1
  SAMPLE:
  from: first
operators:
- name: first
  container: {image: i, tag: "${{ TAG }}", command: ["${{SAMPLE}}", "$(TAG)"]}
  output: [{path: /out}]
- name: second
  container: {image: i}
  input: [{path: /in, from: "${{ FROM }}"}]
"""


def loaded(text: str = TEXT, final: bool = False, **arguments: str) -> Loaded:
    return load([DefinitionFile(path="p.yaml", content=text)], arguments, final=final)


def found(result: Loaded) -> list[tuple[str, str, int, int]]:
    return [(p.severity, p.code, p.line, p.column) for p in result.problems]


def command(result: Loaded) -> tuple[str, ...]:
    assert result.pipeline is not None
    return result.pipeline.operators[0].container.command


def test_an_argument_wins_over_the_default() -> None:
    result = loaded(final=True, TAG="v2", SAMPLE="s")
    assert result.problems == ()
    assert result.pipeline is not None
    assert result.pipeline.operators[0].container.tag == "v2"
    assert command(result) == ("s", "$(TAG)")


def test_names_are_compared_without_case() -> None:
    assert command(loaded(final=True, sample="s")) == ("s", "$(TAG)")


def test_an_argument_is_used_as_it_stands() -> None:
    assert command(loaded(final=True, SAMPLE="${{ TAG }}: [x]"))[0] == "${{ TAG }}: [x]"


def test_an_empty_argument_is_a_value() -> None:
    assert command(loaded(final=True, SAMPLE=""))[0] == ""


@pytest.mark.parametrize("argument", ["null", "~", "true", "1.10", ""])
def test_an_argument_is_a_text_also_where_no_quotes_stand(argument: str) -> None:
    text = TEXT.replace('"${{SAMPLE}}"', "a").replace(
        "output: [{path: /out}]", "output: [{path: /out}]\n  variables:\n    V: ${{ SAMPLE }}"
    )
    result = loaded(text, final=True, SAMPLE=argument)
    assert result.problems == ()
    assert result.pipeline is not None
    assert result.pipeline.operators[0].variables == {"V": argument}


def test_a_parameter_without_value_is_a_warning_when_made_and_an_error_when_final() -> None:
    at_creation = loaded()
    assert found(at_creation) == [("warning", "unresolved-placeholder", 9, 54)]
    assert command(at_creation)[0] == "${{SAMPLE}}"
    at_start = loaded(final=True)
    assert found(at_start) == [("error", "unresolved-placeholder", 9, 54)]
    assert at_start.pipeline is None


def test_a_placeholder_that_names_no_parameter_gets_a_suggestion() -> None:
    result = loaded(TEXT.replace("{ TAG }", "{ TAGG }"), final=True, SAMPLE="s")
    (problem,) = result.problems
    assert str(problem) == (
        "p.yaml:9:30: the placeholder `${{ TAGG }}` names no parameter; did you mean `TAG`?"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"SAMPLE": "s", "TAGS": "v"}, "undeclared-argument"),
        ({"SAMPLE": "s", "sample": "t"}, "duplicate-argument"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: Mapping[str, str], code: str) -> None:
    result = loaded(**arguments)
    assert found(result) == [("error", code, 3, 1)]
    assert result.pipeline is None


def test_an_argument_for_a_definition_without_parameters_is_refused() -> None:
    text = "api-version: 0.4.0\nname: p\noperators: [{name: a, container: {image: i}}]\n"
    assert found(loaded(text, X="y")) == [("error", "undeclared-argument", 1, 1)]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("missing", ("unknown-operator", 13, 29)),
        ("second", ("operator-names-itself", 13, 29)),
        ("", ("empty-value", 13, 23)),
    ],
)
def test_what_an_argument_makes_wrong_is_refused(
    argument: str, expected: tuple[str, int, int]
) -> None:
    result = load([DefinitionFile(path="p.yaml", content=TEXT)], {"SAMPLE": "s", "from": argument})
    assert [(p.code, p.line, p.column) for p in result.problems] == [expected]


def test_an_argument_cannot_leave_the_folder_of_the_container() -> None:
    text = TEXT.replace("path: /in", 'path: "/in/${{ TAG }}"')
    result = loaded(text, TAG="../..", SAMPLE="s", final=True)
    assert [p.code for p in result.problems] == ["invalid-tag", "unsafe-path"]


def test_long_values_used_often_are_refused() -> None:
    text = (
        "api-version: 0.4.0\nname: p\nparameters: {X: '" + "x" * 500_000 + "'}\noperators:\n"
        "- name: a\n  container:\n    image: i\n    command:\n" + "    - ${{ X }}\n" * 20_000
    )
    result = loaded(text)
    assert [p.code for p in result.problems] == ["too-many-values"]


JOB = (
    "api-version: 0.4.0\nname: p\noperators:\n"
    "- {name: a, container: {image: i, tag: '${{ Job_Id }}'}}\n"
)


def tag(result: Loaded) -> str:
    assert result.pipeline is not None
    return result.pipeline.operators[0].container.tag


def test_the_id_of_the_job_is_there_without_being_declared() -> None:
    files = [DefinitionFile(path="p.yaml", content=JOB)]
    at_creation = load(files)
    assert at_creation.problems == ()
    assert tag(at_creation) == "${{ Job_Id }}"
    at_start = load(files, final=True, job="4711")
    assert at_start.problems == ()
    assert tag(at_start) == "4711"
    assert found(load(files, final=True)) == [("error", "unresolved-placeholder", 4, 40)]


def test_the_id_of_the_job_is_no_argument_unless_it_is_declared() -> None:
    files = [DefinitionFile(path="p.yaml", content=JOB)]
    assert found(load(files, {"JOB_ID": "x"}, job="4711")) == [
        ("error", "undeclared-argument", 1, 1)
    ]
    declared = JOB.replace("operators", "parameters: {JOB_ID: }\noperators")
    files = [DefinitionFile(path="p.yaml", content=declared)]
    assert tag(load(files, {"JOB_ID": "x"}, job="4711", final=True)) == "x"
    assert found(load(files, job="4711", final=True)) == [
        ("error", "unresolved-placeholder", 5, 40)
    ]


IMPORT = """\
api-version: 0.4.0
name: p
parameters: {VERSION: }
operators:
- import: {path: part.yaml, args: {TAG: "v${{ VERSION }}"}}
- {name: other, import: {path: part.yaml}}
"""
PART = "parameters: {TAG: v0}\nname: part\ncontainer: {image: i, tag: '${{ TAG }}'}\n"


def test_an_argument_without_a_value_yet_is_reported_where_it_is_given() -> None:
    files = [
        DefinitionFile(path="p.yaml", content=IMPORT),
        DefinitionFile(path="part.yaml", content=PART),
    ]
    at_creation = load(files)
    assert found(at_creation) == [("warning", "unresolved-placeholder", 5, 41)]
    assert tag(at_creation) == "v${{ VERSION }}"
    assert found(load(files, final=True)) == [("error", "unresolved-placeholder", 5, 41)]
    at_start = load(files, {"version": "7"}, final=True)
    assert at_start.problems == ()
    assert at_start.pipeline is not None
    assert [o.container.tag for o in at_start.pipeline.operators] == ["v7", "v0"]


def test_a_file_does_not_see_the_parameters_of_the_one_that_imports_it() -> None:
    files = [
        DefinitionFile(path="p.yaml", content=IMPORT.replace("args: {TAG", "args: {VERSION")),
        DefinitionFile(path="part.yaml", content=PART.replace("TAG", "VERSION", 1)),
    ]
    result = load(files, {"VERSION": "7"})
    assert [(p.code, p.file) for p in result.problems] == [("unresolved-placeholder", "part.yaml")]
