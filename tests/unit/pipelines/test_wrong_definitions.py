"""Every wrong definition is refused with exactly the problems it has, where they are."""

from __future__ import annotations

import re

import pytest
from wrong_definitions import HEAD, READER, WRONG

from claraedge.pipelines.load import load
from claraedge.pipelines.model import DefinitionFile


def marked(text: str, codes: str) -> tuple[str, list[tuple[str, int, int]]]:
    """The text without marks, and (code, line, column) of each."""
    expected = []
    clean = ""
    for part, code in zip(text.split("§")[:-1], codes.split(), strict=True):
        clean += part
        expected.append((code, clean.count("\n") + 1, len(clean) - clean.rfind("\n")))
    return clean + text.split("§")[-1], expected


@pytest.mark.parametrize("name", WRONG)
def test_is_refused_with_exactly_its_problems(name: str) -> None:
    text, codes = WRONG[name]
    text, expected = marked(text, codes)
    loaded = load([DefinitionFile(path="p.yaml", content=text)])
    found = [
        (("?" if p.severity == "warning" else "") + p.code, p.line, p.column)
        for p in loaded.problems
    ]
    assert found == expected
    assert loaded.pipeline is None


@pytest.mark.parametrize("name", WRONG)
def test_every_problem_says_what_to_change(name: str) -> None:
    text, _ = WRONG[name]
    for problem in load([DefinitionFile(path="p.yaml", content=text.replace("§", ""))]).problems:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.code)
        assert problem.message
        assert problem.fix
        assert "\n" not in str(problem)
        assert len(str(problem)) < 600
        where = f"p.yaml:{problem.line}:{problem.column}: "
        assert str(problem) == f"{where}{problem.message}; {problem.fix}"


def only(text: str, **options: object) -> str:
    """Message and fix of the only problem."""
    (problem,) = load([DefinitionFile(path="p.yaml", content=text)]).problems
    return str(problem).split(": ", 1)[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unknown operator", "no operator is named `raeder`; did you mean `reader`?"),
        (
            "unknown output",
            "the operator `split` has no output named `rihgt`; did you mean `right`?",
        ),
        ("unknown type", "`steam` is no type of an input or output; did you mean `stream`?"),
        (
            "named output not named",
            "the output of `a` is named `mask`; add `name: mask` to this input",
        ),
        ("relative path", "the container path `in` is not absolute; write `/in`"),
        (
            "command is a text",
            "`command` is a single value; write a list, one entry an argument:"
            ' `command: ["python", "app.py"]`',
        ),
        (
            "placeholder in a flow list",
            "this is not YAML: while parsing a flow sequence: did not find expected ',' or ']';"
            ' inside [ ] and { } a placeholder needs quotes: "${{ NAME }}"',
        ),
        (
            "cycle of two",
            "the operators wait for each other: `a -> b -> a`; remove one of these ties, as this"
            " one of `a`",
        ),
        (
            "memory with a unit",
            "`memory` is `512Mi`; write a whole number of megabytes from 0 to 16777216, without a"
            " unit",
        ),
    ],
)
def test_says_what_is_wrong_and_what_would_be_right(name: str, said: str) -> None:
    assert only(WRONG[name][0].replace("§", "")) == said


def test_a_cycle_is_named_in_the_direction_of_the_data() -> None:
    text = HEAD + "".join(
        f"- name: {name}\n  container: {{image: i}}\n"
        f"  input: [{{path: /in, from: {source}}}]\n  output: [{{path: /out}}]\n"
        for name, source in (("a", "c"), ("b", "a"), ("c", "b"))
    )
    assert "`a -> b -> c -> a`" in only(text)


def test_a_cycle_is_told_at_its_first_member_also_when_another_operator_reads_it() -> None:
    text = HEAD + "".join(
        f"- name: {name}\n  container: {{image: i}}\n"
        f"  input: [{{path: /in, from: {source}}}]\n  output: [{{path: /out}}]\n"
        for name, source in (("e", "b"), ("a", "b"), ("b", "a"))
    )
    (problem,) = load([DefinitionFile(path="p.yaml", content=text)]).problems
    assert (problem.line, problem.message.split("`")[1]) == (10, "a -> b -> a")


def test_two_separate_cycles_are_both_told() -> None:
    text = HEAD + "".join(
        f"- name: {name}\n  container: {{image: i}}\n"
        f"  input: [{{path: /in, from: {source}}}]\n  output: [{{path: /out}}]\n"
        for name, source in (("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("e", "a"))
    )
    loaded = load([DefinitionFile(path="p.yaml", content=text)])
    assert [(p.code, p.line) for p in loaded.problems] == [("cycle", 6), ("cycle", 14)]


def test_no_file_is_a_problem() -> None:
    assert [p.code for p in load([]).problems] == ["no-definition"]


def test_beyond_a_hundred_errors_the_rest_is_counted() -> None:
    text = HEAD + "".join(f"- name: o{i}\n" for i in range(130))
    problems = load([DefinitionFile(path="p.yaml", content=text)]).problems
    assert len(problems) == 101
    assert problems[-1].code == "more-problems"
    assert problems[-1].message == "30 more errors are not shown"


def test_files_that_nothing_imports_are_warned_of() -> None:
    loaded = load(
        [
            DefinitionFile(path="p.yaml", content=HEAD + READER),
            DefinitionFile(path="extra.yaml", content=":"),
        ]
    )
    assert [(p.code, p.file, p.severity) for p in loaded.problems] == [
        ("unused-file", "extra.yaml", "warning")
    ]
    assert loaded.pipeline is not None


def test_a_file_beyond_a_mebibyte_is_refused() -> None:
    at_limit = HEAD + READER
    at_limit += "#" * ((1 << 20) - len(at_limit))
    assert load([DefinitionFile(path="p.yaml", content=at_limit)]).pipeline is not None
    assert only(at_limit + "#").startswith("the file is larger than 1 MiB")
    # Bytes count, not characters.
    assert only("# " + "é" * (1 << 19)).startswith("the file is larger than 1 MiB")
