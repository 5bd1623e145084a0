"""What a container is told, and where its folders lie in the payload."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from claraedge.pipelines.contract import command, environment, expand
from claraedge.pipelines.model import Container, Input, Operator, Output
from claraedge.pipelines.paths import input_folder, operator_folder, output_folder


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y$(A)z"),
        ("$(C)", "$(C)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$", "$"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$(date $(A)", "$(date $(A)"),
        ("${{ A }}", "${{ A }}"),
        ("", ""),
    ],
)
def test_expands_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "$(A)"}) == expanded


OPERATOR = Operator(
    name="Writer",
    container=Container(image="i", command=("run", "$(OUT)/x", "$(NVIDIA_CLARA_JOBID)", "$(NO)")),
    inputs=(Input(path="/in"), Input(path="/seg", source="a", name="mask")),
    outputs=(Output(path="/out"),),
    variables={
        "OUT": "/out",
        "LOG": "$(OUT)/$(NVIDIA_CLARA_STAGENAME)",
        "EARLY": "$(LATE)",
        "LATE": "x",
    },
)


def test_the_environment_names_folders_job_and_operator() -> None:
    assert environment(OPERATOR, job_id="0" * 32, job_name="study 7") == {
        "NVIDIA_CLARA_INPUTPATHS": ":/in;mask:/seg",
        "NVIDIA_CLARA_OUTPUTPATHS": ":/out",
        "NVIDIA_CLARA_JOBID": "0" * 32,
        "NVIDIA_CLARA_JOBNAME": "study 7",
        "NVIDIA_CLARA_STAGENAME": "Writer",
        "NVIDIA_CLARA_NOSYNCLOCK": "1",
        "OUT": "/out",
        "LOG": "/out/Writer",
        # Only what stands before is known.
        "EARLY": "$(LATE)",
        "LATE": "x",
    }


def test_the_definition_s_own_variables_win() -> None:
    operator = Operator(
        name="a", container=Container(image="i"), variables={"NVIDIA_CLARA_JOBNAME": "mine"}
    )
    told = environment(operator, job_id="0" * 32, job_name="job")
    assert told["NVIDIA_CLARA_JOBNAME"] == "mine"
    assert told["NVIDIA_CLARA_INPUTPATHS"] == ""


def test_the_command_is_expanded_with_the_environment() -> None:
    told = environment(OPERATOR, job_id="7" * 32, job_name="j")
    assert command(OPERATOR, told) == ("run", "/out/x", "7" * 32, "$(NO)")


def test_no_command_stays_none() -> None:
    assert command(Operator(name="a", container=Container(image="i")), {}) == ()


def test_folders_in_the_payload() -> None:
    assert operator_folder("a") == PurePosixPath("operators/a")
    assert output_folder(OPERATOR, Output(path="/out")) == PurePosixPath("operators/Writer")
    assert output_folder(OPERATOR, Output(path="/out", name="m")) == PurePosixPath(
        "operators/Writer/m"
    )
    assert input_folder(Input(path="/in", name="label")) == PurePosixPath("input")
    assert input_folder(Input(path="/in", source="a")) == PurePosixPath("operators/a")
    assert input_folder(Input(path="/in", source="a", name="m")) == PurePosixPath("operators/a/m")
