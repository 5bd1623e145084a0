"""`claraedge render`: the definition that runs, and its graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

HEAD = "api-version: 0.4.0\nname: p\n"
PIPELINE = HEAD + (
    "parameters: {FROM: reader, LEVEL: , CORES: '2'}\n"
    "operators:\n"
    "- name: reader\n"
    "  import: {path: ops/reader.yaml, args: {TAG: '1.10'}}\n"
    "- name: report\n"
    "  colour: red\n"
    "  container: {image: report, command: ['${{ LEVEL }}']}\n"
    "  requests: {cpu: '${{ CORES }}'}\n"
    "  input: [{from: '${{ FROM }}', name: ct, path: /in/}]\n"
)
READER = (
    "name: op\n"
    "parameters: {TAG: }\n"
    "container: {image: clara/reader, tag: '${{ TAG }}'}\n"
    "input: [{path: /in}]\n"
    "output: [{path: /out, name: CT}]\n"
)
RENDERED = """\
api-version: 0.4.0
name: p
parameters:
  LEVEL: null

operators:
  - name: reader
    container:
      image: clara/reader
      tag: '1.10'
    input:
      - path: /in
    output:
      - name: CT
        path: /out

  - name: report
    container:
      image: report
      command:
        - ${{ LEVEL }}
    input:
      - from: reader
        name: CT
        path: /in
    requests:
      cpu: 2

# 1  reader
# 2  report <- reader/CT
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(PIPELINE)
    Path("ops").mkdir()
    Path("ops/reader.yaml").write_text(READER)


def test_the_definition_is_whole_and_what_is_open_is_distinguished(claraedge: Callable) -> None:
    answer = claraedge("render", "p.yaml")
    assert (answer.code, answer.out) == (0, RENDERED)
    assert [line.split("[")[1] for line in answer.err.splitlines()] == [
        "unknown-property]",
        "unresolved-placeholder]",
    ]


def test_what_is_rendered_renders_to_itself(claraedge: Callable) -> None:
    Path("again.yaml").write_text(RENDERED)
    assert claraedge("render", "again.yaml").out == RENDERED


def test_variables_fill_placeholders(claraedge: Callable) -> None:
    answer = claraedge("render", "p.yaml", "-v", "LEVEL=0x10", "-v", "cores=1")
    assert answer.code == 0
    assert "parameters" not in answer.out
    assert "        - '0x10'\n" in answer.out
    assert "      cpu: 1\n" in answer.out


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("text", "1  reader\n2  report <- reader/CT\n"),
        (
            "dot",
            'digraph "p" {\n  rankdir=LR;\n  node [shape=box];\n  "reader";\n  "report";\n'
            '  "reader" -> "report" [label="CT"];\n}\n',
        ),
        ("mermaid", 'flowchart LR\n  n1["reader"]\n  n2["report"]\n  n1 -->|"CT"| n2\n'),
    ],
)
def test_only_the_graph(claraedge: Callable, form: str, expected: str) -> None:
    answer = claraedge("render", "p.yaml", "--graph", form)
    assert (answer.code, answer.out) == (0, expected)


def test_the_json_form_holds_all(claraedge: Callable) -> None:
    answer = claraedge("render", "p.yaml", "-v", "LEVEL=3", "--output", "json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert found["order"] == [["reader"], ["report"]]
    assert found["pipeline"]["operators"][1]["inputs"] == [
        {"path": "/in", "name": "CT", "source": "reader"}
    ]
    assert found["definition"].startswith("api-version: 0.4.0\n")
    assert [p["code"] for p in found["warnings"]] == ["unknown-property"]


def test_a_wrong_definition_is_not_rendered(claraedge: Callable) -> None:
    answer = claraedge("render", "p.yaml", "-v", "FROM=nobody")
    assert (answer.code, answer.out) == (1, "")
    assert "p.yaml:11:18: error: no operator is named `nobody`" in answer.err
    answer = claraedge("render", "p.yaml", "-v", "FROM=nobody", "--output", "json")
    assert answer.code == 1
    assert json.loads(answer.out)["errors"] == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("FROM: reader", "FROM: "),
        ("CORES: '2'", "CORES: "),
    ],
)
def test_an_open_placeholder_where_no_text_can_stand_is_an_error(
    claraedge: Callable, before: str, after: str
) -> None:
    Path("p.yaml").write_text(PIPELINE.replace(before, after))
    answer = claraedge("render", "p.yaml")
    assert (answer.code, answer.out) == (1, "")
    assert "which has no value, and nothing else can stand there" in answer.err


def test_an_open_argument_of_an_import_is_found_where_it_is_used(claraedge: Callable) -> None:
    text = PIPELINE.replace("TAG: '1.10'", "TAG: '${{ LEVEL }}', SOURCE: '${{ LEVEL }}'")
    Path("p.yaml").write_text(text)
    reader = READER.replace("{TAG: }", "{TAG: , SOURCE: }")
    Path("ops/reader.yaml").write_text(reader + "requests: {gpu: '${{ SOURCE }}'}\n")
    answer = claraedge("render", "p.yaml")
    assert answer.code == 1
    assert "ops/reader.yaml:6:17: error: `gpu` is `${{ LEVEL }}`" in answer.err


def test_a_value_that_no_definition_can_write_is_reported(claraedge: Callable) -> None:
    answer = claraedge("render", "p.yaml", "-v", "LEVEL=${{")
    assert (answer.code, answer.out) == (1, "")
    assert "cannot be written as one file" in answer.err
