"""`claraedge check`: problems of definitions, found without a daemon."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_daemon import PIPELINE_A

HEAD = "api-version: 0.4.0\nname: p\n"
RIGHT = HEAD + "operators:\n- name: a\n  container: {image: i}\n"
IMPORTING = HEAD + "operators:\n- name: a\n  import: {path: ops/a.yaml}\n"
OPERATOR = "name: op\ncontainer: {image: i}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder. No daemon can be reached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLARAEDGE_HOST", f"unix:{tmp_path}/no-daemon")
    return tmp_path


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def codes(answer) -> list[tuple[str, str]]:
    """(file, code) of every problem."""
    return [
        (line.split(":")[0], line.rpartition("[")[2].rstrip("]"))
        for line in answer.out.splitlines()[:-1]
    ]


# --- what is printed -----------------------------------------------------------------------------


def test_a_right_definition_has_no_problems(claraedge: Callable) -> None:
    answer = claraedge("check", write("p.yaml", RIGHT))
    assert (answer.code, answer.out, answer.err) == (0, "0 errors, 0 warnings\n", "")


def test_every_problem_has_its_place_its_fix_and_its_code(claraedge: Callable) -> None:
    write("p.yaml", RIGHT + "  colour: red\n  input: [{from: b, path: in}]\n")
    answer = claraedge("check", "p.yaml")
    assert answer.code == 1
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert lines[0].startswith("p.yaml:6:3: warning: an operator has no property `colour`; ")
    assert lines[0].endswith(" [unknown-property]")
    assert lines[1].startswith("p.yaml:7:18: error: no operator is named `b`; ")
    assert lines[2] == (
        "p.yaml:7:27: error: the container path `in` is not absolute; write `/in` [relative-path]"
    )
    assert lines[3:] == ["2 errors, 1 warning"]


def test_warnings_alone_are_no_failure(claraedge: Callable) -> None:
    answer = claraedge("check", write("p.yaml", RIGHT + "  colour: red\n"))
    assert answer.code == 0
    assert answer.out.endswith("0 errors, 1 warning\n")


def test_the_json_form_says_the_same(claraedge: Callable) -> None:
    write("p.yaml", RIGHT + "  input: [{path: in}]\n")
    answer = claraedge("check", "p.yaml", "--output", "json")
    assert answer.code == 1
    found = json.loads(answer.out)
    assert (found["files"], found["errors"], found["warnings"]) == (["p.yaml"], 1, 0)
    assert found["problems"] == [
        {
            "code": "relative-path",
            "severity": "error",
            "file": "p.yaml",
            "line": 6,
            "column": 18,
            "message": "the container path `in` is not absolute",
            "fix": "write `/in`",
        }
    ]


def test_names_of_files_cannot_write_to_the_terminal(claraedge: Callable) -> None:
    answer = claraedge("check", write("\x1b[31m.yaml", "name: [\n"))
    assert answer.code == 1
    assert "\x1b" not in answer.out


# --- files ---------------------------------------------------------------------------------------


def test_imports_are_read_from_the_disk(claraedge: Callable) -> None:
    write("p.yaml", IMPORTING)
    write("ops/a.yaml", OPERATOR + "input: [{path: in}]\n")
    answer = claraedge("check", "p.yaml")
    assert answer.code == 1
    assert answer.out.startswith("ops/a.yaml:3:16: error: ")
    found = json.loads(claraedge("check", "p.yaml", "--output", "json").out)
    assert found["files"] == ["p.yaml", "ops/a.yaml"]


def test_imports_of_imports_are_found_next_to_the_file_that_imports(claraedge: Callable) -> None:
    write("pipelines/p.yaml", IMPORTING.replace("ops/a.yaml", "../shared/ops/a.yaml"))
    write("shared/ops/a.yaml", OPERATOR + "services:\n- import: {path: ../service.yaml}\n")
    write("shared/service.yaml", "name: s\ncontainer: {image: s}\ncolour: red\n")
    answer = claraedge("check", "pipelines/p.yaml")
    assert (answer.code, codes(answer)) == (0, [("shared/service.yaml", "unknown-property")])


def test_placeholders_in_the_paths_of_imports_get_variables_and_defaults(
    claraedge: Callable,
) -> None:
    text = HEAD + "parameters: {KIND: a}\noperators:\n- import: {path: 'ops/${{ KIND }}.yaml'}\n"
    write("p.yaml", text)
    write("ops/a.yaml", OPERATOR)
    write("ops/b.yaml", OPERATOR + "colour: red\n")
    assert codes(claraedge("check", "p.yaml")) == []
    answer = claraedge("check", "p.yaml", "-v", "KIND=b")
    assert codes(answer) == [("ops/b.yaml", "unknown-property")]


def test_a_missing_import_is_reported_where_it_is_imported(claraedge: Callable) -> None:
    answer = claraedge("check", write("p.yaml", IMPORTING))
    assert answer.code == 1
    assert answer.out.startswith("p.yaml:5:18: error: ")


@pytest.mark.parametrize("bad", ["missing.yaml", "folder"])
def test_a_file_that_cannot_be_read_is_a_problem_of_its_own(claraedge: Callable, bad: str) -> None:
    Path("folder").mkdir()
    write("p.yaml", RIGHT + "  colour: red\n")
    answer = claraedge("check", "p.yaml", bad)
    assert answer.code == 1
    assert codes(answer) == [("p.yaml", "unknown-property"), (bad, "unreadable-file")]


def test_a_file_that_is_no_text_is_reported_with_the_place_of_its_first_wrong_byte(
    claraedge: Callable,
) -> None:
    Path("p.yaml").write_bytes("name: ä\nb: é".encode() + b"\xff")
    answer = claraedge("check", "p.yaml")
    assert answer.code == 1
    assert answer.out.startswith("p.yaml:2:5: error: the file is not UTF-8 text (byte 14, 0xff): ")


def test_a_pipe_that_is_imported_is_refused_and_not_waited_for(claraedge: Callable) -> None:
    write("p.yaml", IMPORTING)
    Path("ops").mkdir()
    os.mkfifo("ops/a.yaml")
    answer = claraedge("check", "p.yaml")
    assert answer.code == 1
    assert ("ops/a.yaml", "unreadable-file") in codes(answer)


def test_a_pipe_that_is_named_is_read(claraedge: Callable) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=(RIGHT,))
    writer.start()
    answer = claraedge("check", "pipe")
    writer.join(10)
    assert (answer.code, answer.out) == (0, "0 errors, 0 warnings\n")


def test_files_whose_names_differ_by_case_alone_are_refused(claraedge: Callable) -> None:
    write("p.yaml", IMPORTING + "- name: b\n  import: {path: ops/A.yaml}\n")
    write("ops/a.yaml", OPERATOR)
    write("ops/A.yaml", OPERATOR)
    assert ("ops/A.yaml", "names-differ-by-case") in codes(claraedge("check", "p.yaml"))


def test_imports_without_end_are_cut_off(claraedge: Callable) -> None:
    entries = "".join(f"- name: o{i}\n  import: {{path: ops/o{i}.yaml}}\n" for i in range(1010))
    write("p.yaml", HEAD + "operators:\n" + entries)
    for number in range(1010):
        write(f"ops/o{number}.yaml", OPERATOR)
    answer = claraedge("check", "p.yaml")
    assert answer.code == 1
    assert ("p.yaml", "definition-too-large") in codes(answer)


# --- several at once -----------------------------------------------------------------------------


def test_each_pipeline_is_checked_by_itself(claraedge: Callable) -> None:
    write("a.yaml", RIGHT + "  colour: red\n")
    write("b.yaml", RIGHT + "  input: [{path: in}]\n")
    answer = claraedge("check", "a.yaml", "b.yaml")
    assert answer.code == 1
    assert codes(answer) == [("a.yaml", "unknown-property"), ("b.yaml", "relative-path")]


def test_a_file_of_an_operator_may_be_named_before_its_pipeline(claraedge: Callable) -> None:
    write("p.yaml", IMPORTING)
    write("ops/a.yaml", OPERATOR + "colour: red\n")
    write("q.yaml", IMPORTING)
    answer = claraedge("check", "ops/a.yaml", "p.yaml", "q.yaml", "p.yaml")
    assert (answer.code, codes(answer)) == (0, [("ops/a.yaml", "unknown-property")])


def test_a_file_that_no_pipeline_imports_is_warned_of(claraedge: Callable) -> None:
    answer = claraedge("check", write("p.yaml", RIGHT), write("op.yaml", OPERATOR))
    assert answer.code == 0
    assert [code for _, code in codes(answer)] == ["unused-file"]


def test_a_file_that_is_no_yaml_fails_also_where_nothing_imports_it(claraedge: Callable) -> None:
    write("p.yaml", RIGHT)
    write("broken.yaml", "name: [a\n")
    answer = claraedge("check", "p.yaml", "broken.yaml")
    assert answer.code == 1
    assert {file for file, _ in codes(answer)} == {"broken.yaml"}


def test_no_pipeline_at_all_is_an_error(claraedge: Callable) -> None:
    answer = claraedge("check", write("op.yaml", OPERATOR))
    assert answer.code == 1
    assert "no-operators" in answer.out


# --- variables -----------------------------------------------------------------------------------

OPEN = HEAD + (
    "parameters: {A: , B: }\noperators:\n- name: a\n"
    "  container: {image: i, command: ['${{ A }}', '${{ B }}', '${{ JOB_ID }}']}\n"
)


def test_placeholders_without_value_are_warnings_until_a_value_is_given(
    claraedge: Callable,
) -> None:
    file = write("p.yaml", OPEN)
    answer = claraedge("check", file)
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "0 errors, 2 warnings")
    answer = claraedge("check", file, "-v", "A=1")
    assert (answer.code, answer.out.splitlines()[-1]) == (1, "1 error, 0 warnings")
    answer = claraedge("check", file, "-v", "A=1", "-v", "b=2")
    assert (answer.code, answer.out) == (0, "0 errors, 0 warnings\n")


def test_a_variable_that_is_not_declared_is_an_error(claraedge: Callable) -> None:
    answer = claraedge("check", write("p.yaml", RIGHT), "-v", "C=3")
    assert answer.code == 1
    assert "undeclared-argument" in answer.out


# --- create accepts the same files ----------------------------------------------------------------


def test_create_sends_imported_files_under_names_that_lead_nowhere_else(
    daemon, claraedge: Callable, folder: Path
) -> None:
    write("pipelines/p.yaml", IMPORTING.replace("ops/a.yaml", "../ops/a.yaml"))
    write("ops/a.yaml", OPERATOR)
    answer = claraedge("create", "pipeline", "-p", folder / "pipelines" / "p.yaml")
    assert (answer.code, answer.out) == (0, f"{PIPELINE_A}\n")
    assert list(daemon.asked[-1].items()) == [
        ("pipelines/p.yaml", Path("pipelines/p.yaml").read_text()),
        ("ops/a.yaml", OPERATOR),
    ]


def test_create_sends_what_is_named_and_not_imported_too(daemon, claraedge: Callable) -> None:
    write("p.yaml", IMPORTING)
    write("ops/a.yaml", OPERATOR)
    write("more.yaml", OPERATOR)
    assert claraedge("create", "pipeline", "-p", "p.yaml", "more.yaml").code == 0
    assert list(daemon.asked[-1]) == ["p.yaml", "more.yaml", "ops/a.yaml"]
