"""What of a device is missing in a container, by a folder that stands for its root.

Nodes are links-free stand-ins: only a superuser makes device nodes, so this machine's own /dev is
the root of a container that has them, and an empty folder that of one that has not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.runner.container_states import read_initialised
from claraedge.runner.containers.devices import check_devices
from claraedge.runner.protocol import ContainerSpec

GPU, OTHER = "nvidia.com/gpu=0", "nvidia.com/gpu=1"
NULL = {"/dev/null": "/dev/null"}
HERE = Path("/")

Nodes = Mapping[str, str]


def lack(root: Path, given: Nodes, own: Mapping[str, Nodes | None], *devices: str) -> str | None:
    spec = ContainerSpec(name="n", image="i", log_path=Path("/l"), devices=devices or (GPU,))
    try:
        check_devices(spec, root, given, own)
    except ContainerError as error:
        return str(error)
    return None


def test_devices_that_are_there_are_no_error() -> None:
    both = {**NULL, "/dev/zero": "/dev/zero"}
    assert lack(HERE, both, {GPU: NULL}) is None
    assert lack(HERE, NULL, {GPU: None}) is None  # Podman knows the spec, and we do not
    assert lack(HERE, both, {GPU: NULL, OTHER: {"/dev/zero": "/dev/zero"}}, GPU, OTHER) is None


def test_a_device_without_a_node_is_named_with_its_kind_and_what_to_do() -> None:
    text = lack(HERE, {}, {GPU: {}})
    assert text is not None
    assert "would run without the device 0 of the CDI kind nvidia.com/gpu" in text
    assert "its CDI spec gives it no device node" in text
    assert "nvidia-ctk cdi generate" in text


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ({}, None),  # neither knows of a node
        (NULL, {}),  # there is one, but it is what all devices of the spec get
    ],
)
def test_nodes_that_are_not_its_own_do_not_stand_for_it(given: Nodes, own: Nodes | None) -> None:
    assert "gives it no device node" in str(lack(HERE, given, {GPU: own}))


def test_of_two_devices_the_one_that_is_missing_is_named() -> None:
    text = str(lack(HERE, NULL, {GPU: NULL, OTHER: {}}, GPU, OTHER))
    assert "the device 1 of" in text


def test_a_node_that_did_not_arrive(tmp_path: Path) -> None:
    assert "/dev/null is not in it" in str(lack(tmp_path, NULL, {GPU: NULL}))
    assert "/dev/null is not in it" in str(lack(tmp_path, NULL, {GPU: None}))


def test_a_node_for_all_devices_that_did_not_arrive() -> None:
    given = {**NULL, "/dev/nvidiactl-of-nobody": "/dev/zero"}
    assert "/dev/nvidiactl-of-nobody is not in it" in str(lack(HERE, given, {GPU: NULL}))


def test_another_device_under_its_name() -> None:
    text = str(lack(HERE, {}, {GPU: {"/dev/zero": "/dev/null"}}))
    assert "/dev/zero in it is the device 1:5, not 1:3 as /dev/null" in text


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_device_does_not_stand_for_one(tmp_path: Path, kind: str) -> None:
    node = tmp_path / "dev/null"
    node.parent.mkdir()
    if kind == "link":
        node.symlink_to("/dev/null")  # leads to this machine's, not to one in the container
    elif kind == "file":
        node.touch()
    else:
        node.mkdir()
    assert "/dev/null in it is no device" in str(lack(tmp_path, NULL, {GPU: NULL}))


def test_a_device_that_this_machine_has_not() -> None:
    gone = {"/dev/null": "/dev/nothing-such"}
    assert "/dev/nothing-such of this machine cannot be inspected" in str(
        lack(HERE, {}, {GPU: gone})
    )


def test_inspect_between_init_and_start() -> None:
    answer = {
        "State": {"Status": "initialized", "Pid": 7},
        "HostConfig": {
            "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/g"}],
        },
        "Config": {"Env": ["A=1", "PATH=/bin", "A=2=3", "EMPTY"]},
    }
    found = read_initialised(json.dumps(answer).encode())
    assert (found.pid, found.nodes) == (7, {"/dev/g": "/dev/null"})
    assert found.environment == {"A": "2=3", "PATH": "/bin", "EMPTY": ""}
    answer["HostConfig"] = {"Devices": None}
    assert read_initialised(json.dumps(answer).encode()).nodes == {}
    with pytest.raises(RunnerUnavailableError):
        read_initialised(b"")
