"""Every wrong definition is refused with exactly the problems it has, where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest
from wrong_definitions import HEAD, READER, TWINS, WRONG
from wrong_sets import TWINS as SET_TWINS
from wrong_sets import WRONG_SETS

from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.checks.load import Loaded, load
from claraedge.pipelines.model import DefinitionFile

ALL = {name: ({"p.yaml": text}, codes) for name, (text, codes) in WRONG.items()} | {
    f"files: {name}": entry for name, entry in WRONG_SETS.items()
}
ALL_TWINS = TWINS | {f"files: {name}": twin for name, twin in SET_TWINS.items()}

Found = list[tuple[str, str, int, int]]


def places(text: str) -> Iterator[tuple[int, int]]:
    """Line and column of each mark."""
    clean = ""
    for part in text.split("§")[:-1]:
        clean += part
        yield clean.count("\n") + 1, len(clean) - clean.rfind("\n")


def expected(files: Mapping[str, str], codes: str) -> Found:
    marks = [(path, *place) for path, text in files.items() for place in places(text)]
    return [
        (code, path, line, column)
        for code, (path, line, column) in zip(codes.split(), marks, strict=True)
    ]


def definition(files: Mapping[str, str]) -> list[DefinitionFile]:
    return [DefinitionFile(path=p, content=t.replace("§", "")) for p, t in files.items()]


def found(loaded: Loaded, files: Mapping[str, str]) -> Found:
    """The problems, file after file; in each file they stand in order already."""
    order = {path: index for index, path in enumerate(files)}
    return [
        (("?" if p.severity == "warning" else "") + p.code, p.file, p.line, p.column)
        for p in sorted(loaded.problems, key=lambda p: order[p.file])
    ]


@pytest.mark.parametrize("name", ALL)
def test_is_refused_with_exactly_its_problems(name: str) -> None:
    files, codes = ALL[name]
    loaded = load(definition(files))
    assert found(loaded, files) == expected(files, codes)
    assert loaded.pipeline is None


@pytest.mark.parametrize("name", ALL)
def test_every_problem_says_what_to_change(name: str) -> None:
    for problem in load(definition(ALL[name][0])).problems:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.code)
        assert problem.message
        assert problem.fix
        assert "\n" not in str(problem)
        assert len(str(problem)) < 600
        where = f"{problem.file}:{problem.line}:{problem.column}: "
        assert str(problem) == f"{where}{problem.message}; {problem.fix}"


@pytest.mark.parametrize("name", ALL_TWINS)
def test_what_is_corrected_is_accepted(name: str) -> None:
    files = {file.path: file.content for file in definition(ALL[name][0])}
    for wrong, right in ALL_TWINS[name]:
        assert any(wrong in text for text in files.values()), wrong
        files = {path: text.replace(wrong, right) for path, text in files.items()}
    loaded = load(definition(files))
    assert loaded.errors == ()
    assert loaded.pipeline is not None


def test_most_have_a_twin_that_is_right() -> None:
    assert len(WRONG) >= 200
    assert len(WRONG_SETS) >= 50
    assert len(ALL_TWINS) * 2 >= len(ALL)


SMALL = Device(cores=4, memory=8192, gpus=1)
ASKS = (
    HEAD
    + "- name: a\n  container: {image: i}\n  requests: {cpu: CPU, memory: MEMORY, gpu: GPU}\n"
    + "  services:\n  - name: s\n    container: {image: s}\n    requests: {gpu: SERVICE}\n"
)


@pytest.mark.parametrize(
    ("asked", "device", "codes"),
    [
        ({"CPU": "4", "MEMORY": "8192", "GPU": "1", "SERVICE": "1"}, SMALL, ""),
        ({}, SMALL, ""),
        ({"GPU": "§2"}, SMALL, "more-than-device"),
        ({"SERVICE": "§2"}, SMALL, "more-than-device"),
        ({"MEMORY": "§8193"}, SMALL, "more-than-device"),
        ({"CPU": "§5"}, SMALL, "?more-than-device"),
        (
            {"CPU": "§5", "MEMORY": "§8193", "GPU": "§3", "SERVICE": "§64"},
            SMALL,
            "?more-than-device" + " more-than-device" * 3,
        ),
        (
            {"GPU": "§1", "SERVICE": "§2"},
            Device(cores=4, memory=8192, gpus=0),
            "?no-gpu ?no-gpu",
        ),
        ({"GPU": "2"}, Device(cores=4, memory=8192, gpus=2), ""),
        ({"CPU": "1024", "MEMORY": "16777216", "GPU": "64"}, None, ""),
    ],
)
def test_what_the_device_cannot_give_is_reported(
    asked: Mapping[str, str], device: Device | None, codes: str
) -> None:
    text = re.sub("[A-Z]{3,}", lambda m: asked.get(m.group(), "0"), ASKS)
    loaded = load(definition({"p.yaml": text}), device=device)
    assert found(loaded, {"p.yaml": text}) == expected({"p.yaml": text}, codes)
    assert (loaded.pipeline is None) == any(c[0] != "?" for c in codes.split())


def test_a_variable_that_the_device_sets_is_reported_and_does_no_harm() -> None:
    text = (
        HEAD + "- name: a\n  container: {image: i}\n  variables: {§NVIDIA_VISIBLE_DEVICES: all}\n"
    )
    loaded = load(definition({"p.yaml": text.replace("§", "")}))
    assert found(loaded, {"p.yaml": text}) == expected({"p.yaml": text}, "?variable-unused")
    assert loaded.pipeline is not None


def test_what_depends_on_an_open_placeholder_is_checked_once_its_value_is_known() -> None:
    text = ASKS.replace("GPU", "'${{ N }}'").replace("name: p\n", "name: p\nparameters: {N: }\n")
    text = re.sub("CPU|MEMORY|SERVICE", "0", text)
    files = definition({"p.yaml": text})
    assert load(files, device=SMALL).errors == ()
    assert load(files, {"N": "1"}, device=SMALL).problems == ()
    assert [p.code for p in load(files, {"N": "2"}, device=SMALL).errors] == ["more-than-device"]


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
            "order after a misspelt one",
            "no operator is named `raeder`; did you mean `reader`?",
        ),
        (
            "cycle of order and inputs",
            "the operators wait for each other: `a -> b -> c -> a`; remove one of these ties, as"
            " this one of `a`",
        ),
        (
            "shapes differ",
            "the shape of this input is `[3, 2]`, and that of the output it reads (line 6) is"
            " `[2, 3]`; write the same `shape` at both ends",
        ),
        (
            "value from the payload",
            "`array` is a value in shared memory, and the job's payload holds files; add `from:`"
            " with the operator that writes it, or read files: `type: stream`",
        ),
        (
            "high port",
            "`port` asks for 65536 port numbers; write a whole number of port numbers from 1024 to"
            " 65535",
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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "missing file",
            "p.yaml:4:18: the definition holds no file `prat.yaml`, seen from `p.yaml`; did you"
            " mean `part.yaml`?",
        ),
        (
            "no file but the root",
            "p.yaml:4:18: the definition holds no file `part.yaml`, seen from `p.yaml`; add it to"
            " the definition, which holds `p.yaml`",
        ),
        (
            "file imports itself",
            "a.yaml:1:16: the files import each other: `a.yaml -> a.yaml`; import a file that does"
            " not lead back here",
        ),
        (
            "files import each other",
            "b.yaml:1:16: the files import each other: `a.yaml -> b.yaml -> a.yaml`; import a file"
            " that does not lead back here",
        ),
        (
            "three files import each other",
            "c.yaml:1:16: the files import each other: `d/a.yaml -> d/b.yaml -> c.yaml -> d/a.yaml`"
            "; import a file that does not lead back here",
        ),
        (
            "undeclared argument",
            "p.yaml:4:42: a value is given for `TGA`, which `parameters` does not declare; did you"
            " mean `TAG`?",
        ),
        (
            "argument of a file without parameters",
            "p.yaml:4:33: a value is given for `TAG`, which `parameters` does not declare; declare"
            " it under `parameters`, or leave it out (declared: none)",
        ),
        (
            "service imported twice",
            "p.yaml:8:5: two services of the operator are named `s` (names are compared without"
            " case), the first on line 7; give each its own name",
        ),
        (
            "types differ over two files",
            "p.yaml:7:57: the element-type of this input is `i16`, and that of the output it reads"
            " (line 3 of `a.yaml`) is `u16`; write the same `element-type` at both ends",
        ),
    ],
)
def test_says_it_with_the_file(name: str, said: str) -> None:
    (problem,) = load(definition(WRONG_SETS[name][0])).problems
    assert str(problem) == said


def test_a_cycle_is_named_in_the_direction_of_the_data() -> None:
    text = HEAD + "".join(
        f"- name: {name}\n  container: {{image: i}}\n"
        f"  input: [{{path: /in, from: {source}}}]\n  output: [{{path: /out}}]\n"
        for name, source in (("a", "c"), ("b", "a"), ("c", "b"))
    )
    assert "`a -> b -> c -> a`" in only(text)


def test_a_cycle_is_reported_at_its_first_member_also_when_another_operator_reads_it() -> None:
    text = HEAD + "".join(
        f"- name: {name}\n  container: {{image: i}}\n"
        f"  input: [{{path: /in, from: {source}}}]\n  output: [{{path: /out}}]\n"
        for name, source in (("e", "b"), ("a", "b"), ("b", "a"))
    )
    (problem,) = load([DefinitionFile(path="p.yaml", content=text)]).problems
    assert (problem.line, problem.message.split("`")[1]) == (10, "a -> b -> a")


def test_two_separate_cycles_are_both_reported() -> None:
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
