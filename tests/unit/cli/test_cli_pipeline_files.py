"""What the command line shows of pipelines.d."""

from __future__ import annotations

import json

import pytest
from fake_daemon import PIPELINE_A, PIPELINE_A_NEWER, PIPELINE_B

from claraedge.wire.claraedge.v1.pipeline_files_pb2 import PipelineFile

PROBLEM = "/d/ct.yaml:3:1: a pipeline has no `operators`; add them"
CT = PipelineFile(
    name="ct.yaml",
    path="/d/ct.yaml",
    pipeline_id=PIPELINE_A_NEWER,
    pipeline_name="ct",
    problems=[PROBLEM],
)
GONE = PipelineFile(
    name="old.yaml", path="/d/old.yaml", pipeline_id="f" * 32, pipeline_name="old", gone=True
)
WRONG = PipelineFile(name="new.yaml", path="/d/new.yaml", problems=["/d/new.yaml:1:1: wrong"])


def test_sources_stand_next_to_pipelines_and_what_is_wrong_on_stderr(daemon, claraedge):
    daemon.fakes.pipeline_files = [CT, WRONG, GONE]
    answer = claraedge("list", "pipelines")
    heading, *rows = [line.split() for line in answer.out.splitlines()]
    assert heading == ["NAME", "ID", "SOURCE"]
    assert {row[1]: row[2] for row in rows} == {
        PIPELINE_A: "-",
        PIPELINE_B: "-",
        PIPELINE_A_NEWER: "/d/ct.yaml",
    }
    assert answer.err.splitlines() == [
        f"claraedge: warning: {PROBLEM}",
        "claraedge: warning: /d/new.yaml:1:1: wrong",
    ]
    found = json.loads(claraedge("list", "pipelines", "--output", "json").out)
    assert [p["source"] for p in found["pipelines"]] == ["", "", "/d/ct.yaml"]
    assert found["warnings"] == [PROBLEM, "/d/new.yaml:1:1: wrong"]


@pytest.mark.parametrize("files", [None, []], ids=["another platform", "an empty folder"])
def test_without_files_the_table_is_as_it_was(daemon, claraedge, files):
    daemon.fakes.pipeline_files = files
    answer = claraedge("list", "pipelines")
    assert answer.out.splitlines()[0].split() == ["NAME", "ID"]
    assert answer.err == ""


def test_a_pipeline_is_described_with_its_file(daemon, claraedge):
    daemon.fakes.pipeline_files = [CT]
    lines = claraedge("describe", "pipeline", "-p", "ct").out.splitlines()
    assert lines[1:4] == [
        f"PIPELINE_ID: {PIPELINE_A_NEWER}",
        "SOURCE: /d/ct.yaml",
        f"NOT USED: {PROBLEM}",
    ]
    found = json.loads(claraedge("describe", "pipeline", "-p", "ct", "--output", "json").out)
    assert (found["source"], found["source_problems"]) == ("/d/ct.yaml", [PROBLEM])


def test_a_name_whose_file_is_gone_is_refused_with_the_file(daemon, claraedge):
    daemon.fakes.pipeline_files = [GONE]
    answer = claraedge("create", "job", "-p", "OLD", "-n", "job")
    assert answer.code == 1
    assert "its file /d/old.yaml is gone; put it back" in answer.err
