"""Operators of the image `register-results`: which they are, and what they register."""

from __future__ import annotations

import pytest

from claraedge.pipelines.model import ContainerDefinition, Input, Operator, Pipeline
from claraedge.pipelines.registration import (
    Registration,
    is_registration,
    registration,
    registrations,
    summary,
)


def operator(*command: str, image: str = "clara/register-results") -> Operator:
    return Operator(
        name="register",
        container=ContainerDefinition(image=image, command=command),
        inputs=(Input(path="/in", source="a"),),
    )


@pytest.mark.parametrize(
    "image",
    [
        "register-results",
        "clara/register-results",
        "registry.example/nvidia/clara/register-results",
        "localhost:5000/register-results",
        f"clara/register-results@sha256:{'0' * 64}",
    ],
)
def test_the_image_is_known_by_the_end_of_its_path(image: str) -> None:
    assert is_registration(operator(image=image))


@pytest.mark.parametrize(
    "image", ["clara/register", "my-register-results", "register-results/tool", "x/register"]
)
def test_other_images_are_ordinary_operators(image: str) -> None:
    assert not is_registration(operator("--agent", "a", image=image))
    assert registration(operator("--agent", "a", image=image)) is None


@pytest.mark.parametrize(
    ("command", "agent", "data"),
    [
        (
            ("python", "register.py", "--agent", "renderserver", "--data", '["DEST"]'),
            "renderserver",
            ["DEST"],
        ),
        (("python", "r.py", "--data", '["A", "B"]', "--agent", "ClaraSCU"), "ClaraSCU", ["A", "B"]),
        (("python", "r.py", "--agent=DICOMweb", '--data=["A b"]'), "DICOMweb", ["A b"]),
        # Unquoted in a shell, the words of one value come apart.
        (("r", "--data", '["A",', '"B"]', "--agent", "x"), "x", ["A", "B"]),
        # A whole command line in one entry.
        (("sh", "-c", """python r.py --agent x --data '["A"]'"""), "x", ["A"]),
        (("""--agent=x --data='["A"]'""",), "x", ["A"]),
        (("sh", "-c", "r --agent x --data 'A"), "x", "'A"),
        # Kept as it stands: no list.
        (("r", "--agent", "x", "--data", "DEST"), "x", "DEST"),
        (("r", "--agent", "x", "--data", '["DEST"'), "x", '["DEST"'),
        (("r", "--agent", "x", "--data", "[NaN]"), "x", "[NaN]"),
        (("r", "--agent", "x", "--data", "7"), "x", "7"),
        (("r", "--agent", "x", "--data", "[" * 100_000), "x", "[" * 100_000),
        (("r", "--agent", "x", "--data", '{"to": 1}'), "x", {"to": 1}),
        (("r", "--agent", "x", "--data"), "x", ""),
        (("r", "--agent"), "", None),
        (("r", "--agent=", "--data="), "", ""),
        (("r", "--verbose", "9", "--data", "[]", "--quiet", "z"), None, []),
        (("r", "--agent", "x", "--agent", "y"), "y", None),
        (("python", "register.py"), None, None),
        ((), None, None),
    ],
)
def test_agent_and_data_are_read_from_the_command(
    command: tuple[str, ...], agent: str | None, data: object
) -> None:
    assert registration(operator(*command)) == Registration(agent=agent, data=data)


def test_the_command_is_expanded_as_in_a_container() -> None:
    written = Operator(
        name="register",
        container=ContainerDefinition(
            image="register-results",
            command=("r", "--agent", "$(AGENT)", "--data", '["$(NVIDIA_CLARA_JOBNAME)"]'),
        ),
        variables={"AGENT": "scu"},
    )
    other = Operator(name="a", container=ContainerDefinition(image="x"))
    pipeline = Pipeline(api_version="0.4.0", name="p", operators=(other, written))
    (found,) = registrations(pipeline, job_id="0" * 32, job_name="study 7")
    assert found == (written, Registration(agent="scu", data=["study 7"]))


def test_what_was_registered_is_one_line() -> None:
    text = summary(operator(), Registration(agent="a\nb", data=["x" * 10_000]))
    assert text.splitlines() == [text]
    assert len(text) < 700


def test_values_that_are_not_delivered_are_named() -> None:
    reader = Operator(
        name="register",
        container=ContainerDefinition(image="register-results"),
        inputs=(Input(path="/x", source="a", name="mean", type="f32"),),
    )
    assert '"mean"' in summary(reader, Registration(agent="a", data=None))
