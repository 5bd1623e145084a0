"""What the variables of a container say, and where its folders lie in the payload."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from claraedge.pipelines.contract import command, environment, expand, service_environment
from claraedge.pipelines.model import ContainerDefinition, Input, Operator, Output, Service
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
    container=ContainerDefinition(
        image="i", command=("run", "$(OUT)/x", "$(NVIDIA_CLARA_JOBID)", "$(NO)")
    ),
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
        name="a",
        container=ContainerDefinition(image="i"),
        variables={"NVIDIA_CLARA_JOBNAME": "mine"},
    )
    variables = environment(operator, job_id="0" * 32, job_name="job")
    assert variables["NVIDIA_CLARA_JOBNAME"] == "mine"
    assert variables["NVIDIA_CLARA_INPUTPATHS"] == ""


def test_the_command_is_expanded_with_the_environment() -> None:
    variables = environment(OPERATOR, job_id="7" * 32, job_name="j")
    assert command(OPERATOR, variables) == ("run", "/out/x", "7" * 32, "$(NO)")


def test_no_command_stays_none() -> None:
    assert command(Operator(name="a", container=ContainerDefinition(image="i")), {}) == ()


def test_folders_in_the_payload() -> None:
    assert operator_folder("a") == PurePosixPath("operators/a")
    assert output_folder(OPERATOR, Output(path="/out")) == PurePosixPath("operators/Writer")
    assert output_folder(OPERATOR, Output(path="/out", name="m")) == PurePosixPath(
        "operators/Writer/m"
    )
    assert input_folder(Input(path="/in", name="label")) == PurePosixPath("input")
    assert input_folder(Input(path="/in", source="a")) == PurePosixPath("operators/a")
    assert input_folder(Input(path="/in", source="a", name="m")) == PurePosixPath("operators/a/m")


def test_values_in_shared_memory_are_named_with_their_files() -> None:
    operator = Operator(
        name="a",
        container=ContainerDefinition(image="i"),
        inputs=(
            Input(path="/in"),
            Input(
                path="/clara/fastio/input/b/image",
                source="b",
                name="image",
                type="array",
                element_type="u8",
                shape=(4, 4),
            ),
        ),
        outputs=(Output(path="/clara/fastio/output/text", name="text", type="string"),),
    )
    variables = environment(operator, job_id="0" * 32, job_name="job")
    assert variables["NVIDIA_CLARA_INPUTPATHS"] == ":/in;image:/clara/fastio/input/b/image"
    assert variables["NVIDIA_CLARA_OUTPUTPATHS"] == "text:/clara/fastio/output/text"
    assert json.loads(variables["CLARAEDGE_FASTIO"]) == {
        "inputs": [
            {
                "name": "image",
                "from": "b",
                "path": "/clara/fastio/input/b/image",
                "type": "array",
                "element_type": "u8",
                "shape": [4, 4],
                "bytes": 16,
            }
        ],
        "outputs": [{"name": "text", "path": "/clara/fastio/output/text", "type": "string"}],
    }
    assert "CLARAEDGE_FASTIO" not in environment(OPERATOR, job_id="0" * 32, job_name="job")


MODELS = Operator(
    name="a",
    container=ContainerDefinition(image="i"),
    models=("unet",),
    variables={"CLARA_TRITON_URI": "mine", "SEEN": "$(NVIDIA_TRITON_HTTPURI) $(TRTIS)"},
)


def test_the_inference_server_is_named_as_new_and_old_images_read_it() -> None:
    variables = environment(MODELS, job_id="0" * 32, job_name="job", triton="triton.local")
    assert {name: text for name, text in variables.items() if "TRI" in name or "TRT" in name} == {
        "NVIDIA_TRITON_HTTPURI": "triton.local:8000",
        "NVIDIA_TRITON_GRPCURI": "triton.local:8001",
        "NVIDIA_CLARA_TRTISURI": "triton.local:8000",
        # The definition's own win.
        "CLARA_TRITON_URI": "mine",
    }


def test_an_operator_without_models_hears_of_no_inference_server() -> None:
    variables = environment(OPERATOR, job_id="0" * 32, job_name="job", triton="triton.local")
    assert not [name for name in variables if "TRITON" in name]


def test_connections_win_over_the_platform_and_the_definition_over_both() -> None:
    variables = environment(
        MODELS,
        job_id="0" * 32,
        job_name="job",
        triton="triton.local",
        connections={"NVIDIA_CLARA_TRTISURI": "service:9000", "TRTIS": "service:9001"},
    )
    assert variables["NVIDIA_CLARA_TRTISURI"] == "service:9000"
    assert variables["SEEN"] == "triton.local:8000 service:9001"
    assert command(
        Operator(name="a", container=ContainerDefinition(image="i", command=("$(TRTIS)",))),
        variables,
    ) == ("service:9001",)


def test_a_service_variable_says_where_the_shared_folder_lies() -> None:
    service = Service(
        name="s",
        container=ContainerDefinition(image="i"),
        variables={"MODELS": "$(NVIDIA_CLARA_SERVICE_DATA_PATH)/models"},
    )
    assert service_environment(service, data_path="/clara/common", connections={"PORT": "1"}) == {
        "NVIDIA_CLARA_SERVICE_DATA_PATH": "/clara/common",
        "PORT": "1",
        "MODELS": "/clara/common/models",
    }
