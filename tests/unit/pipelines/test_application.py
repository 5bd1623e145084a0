"""What an operator becomes whose image says itself how it is run."""

from __future__ import annotations

from typing import Any

import pytest

from claraedge.errors import PipelineLoadError
from claraedge.pipelines.application import Application, applied
from claraedge.pipelines.contract import environment
from claraedge.pipelines.model import ContainerDefinition, Input, Operator, Output, Requests

PATHS = {
    "HOLOSCAN_INPUT_PATH": "/var/holoscan/input",
    "HOLOSCAN_OUTPUT_PATH": "/var/holoscan/output",
    "MONAI_INPUTPATH": "/var/holoscan/input",
    "MONAI_OUTPUTPATH": "/var/holoscan/output",
}


def application(**changes: Any) -> Application:
    says: dict[str, Any] = {
        "command": ("python3", "/opt/holoscan/app"),
        "working_dir": "/var/holoscan",
        "input": "/var/holoscan/input",
        "output": "/var/holoscan/output",
        "cpu": 2,
        "memory": 1024,
        "gpu": 1,
        "shared_memory": 512,
    }
    return Application(**(says | changes))


def operator(**changes: Any) -> Operator:
    parts: dict[str, Any] = {"name": "seg", "container": ContainerDefinition(image="seg")}
    return Operator(**(parts | changes))


def test_what_the_definition_leaves_open_comes_from_the_application() -> None:
    assert applied(operator(), application()) == operator(
        container=ContainerDefinition(
            image="seg",
            entrypoint=("python3", "/opt/holoscan/app"),
            working_dir="/var/holoscan",
            shared_memory=512,
            writable_root=True,
        ),
        inputs=(Input(path="/var/holoscan/input"),),
        outputs=(Output(path="/var/holoscan/output"),),
        variables=PATHS,
        requests=Requests(cpu=2, memory=1024, gpu=1),
    )


def test_with_a_command_it_is_a_plain_container() -> None:
    plain = operator(container=ContainerDefinition(image="seg", command=("true",)))
    assert applied(plain, application()) is plain


def test_filling_in_twice_changes_nothing() -> None:
    once = applied(operator(), application())
    assert applied(once, application(input="/other")) is once


def test_written_requests_win_even_where_they_say_none() -> None:
    filled = applied(operator(requests=Requests(gpu=0, memory=64)), application())
    assert filled.requests == Requests(cpu=2, memory=64, gpu=0)


def test_written_paths_win_and_the_variables_follow_them() -> None:
    written = operator(
        inputs=(Input(path="/a"), Input(path="/b", source="x")), outputs=(Output(path="/out"),)
    )
    filled = applied(written, application(environment={"MONAI_INPUTPATH": "input/"}))
    assert (filled.inputs, filled.outputs) == (written.inputs, written.outputs)
    assert filled.variables == {
        "HOLOSCAN_INPUT_PATH": "/a",
        "HOLOSCAN_OUTPUT_PATH": "/out",
        "MONAI_INPUTPATH": "/a",
        "MONAI_OUTPUTPATH": "/out",
    }


def test_a_value_in_shared_memory_is_no_input_folder() -> None:
    value = Input(path="/dev/shm/x", source="y", name="x", type="u8")
    folder = Input(path="/in")
    filled = applied(operator(inputs=(value, folder)), application())
    assert filled.variables["HOLOSCAN_INPUT_PATH"] == "/in"


def test_an_operator_behind_others_does_not_read_the_payload() -> None:
    filled = applied(operator(order=("first",)), application())
    assert filled.inputs == ()
    assert filled.variables["HOLOSCAN_INPUT_PATH"] == "/var/holoscan/input"


def test_the_definitions_variables_win_and_may_refer_to_the_others() -> None:
    written = operator(variables={"BASE": "/x", "MONAI_INPUTPATH": "$(BASE)/in", "M": "$(MODEL)"})
    filled = applied(written, application(environment={"MODEL": "/m"}))
    seen = environment(filled, job_id="j", job_name="n")
    assert (seen["MONAI_INPUTPATH"], seen["M"]) == ("/x/in", "/m")
    assert seen["HOLOSCAN_INPUT_PATH"] == "/var/holoscan/input"


def test_texts_of_the_manifest_are_literal() -> None:
    filled = applied(operator(), application(environment={"PRICE": "$(NVIDIA_CLARA_JOBID) $$"}))
    seen = environment(filled, job_id="j", job_name="n")
    assert seen["PRICE"] == "$(NVIDIA_CLARA_JOBID) $$"


def test_variables_of_the_platform_are_expanded() -> None:
    filled = applied(operator(), application(platform={"MONAI_JOBID": "$(NVIDIA_CLARA_JOBID)"}))
    assert environment(filled, job_id="j", job_name="n")["MONAI_JOBID"] == "j"


@pytest.mark.parametrize("written", ["/var/holoscan", "/var/holoscan/input", "/var"])
def test_folders_inside_one_another_are_refused(written: str) -> None:
    with pytest.raises(PipelineLoadError, match="put folders inside each other"):
        applied(operator(outputs=(Output(path=written),)), application())


def test_folders_whose_names_only_begin_alike_are_right() -> None:
    applied(operator(outputs=(Output(path="/var/holoscan/input-2"),)), application())
