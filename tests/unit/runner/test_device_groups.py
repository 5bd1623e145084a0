"""Groups of a user in containers, and whether a process may open a node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claraedge.runner.containers.devices import to_open, what_to_do
from claraedge.runner.containers.opening import ProcessIdentity, computed, read_identity
from claraedge.runner.containers.specgen import create_request
from claraedge.runner.groups import NO_GROUPS, GroupKeeper, needed
from claraedge.runner.protocol import ContainerSpec

VIDEO = 44
ROOTLESS = ((0, 1001, 1), (1, 100000, 65536))
WITH_VIDEO = ((0, 1001, 1), (1, VIDEO, 1), (2, 100000, 65536))
SPEC = ContainerSpec(name="n", image="i", log_path=Path("/l"))


def test_crun_is_asked_to_keep_them() -> None:
    asked = GroupKeeper(runtime="crun", mapping=WITH_VIDEO).ask({VIDEO})
    request = create_request(SPEC, None, groups=asked)
    assert request["annotations"] == {"run.oci.keep_original_groups": "1"}
    assert "groups" not in request


def test_another_runtime_is_given_those_that_podman_knows() -> None:
    asked = GroupKeeper(runtime="runc", mapping=WITH_VIDEO).ask({VIDEO, 45})
    request = create_request(SPEC, None, groups=asked)
    assert request["groups"] == ["1"]
    assert "annotations" not in request
    assert GroupKeeper(runtime="runc", mapping=ROOTLESS).ask({VIDEO}) == NO_GROUPS


def test_nothing_is_asked_where_everybody_may_open_the_nodes(tmp_path: Path) -> None:
    modes = {"all": 0o666, "group": 0o660, "owner": 0o600}
    for name, mode in modes.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    own = (tmp_path / "group").stat().st_gid
    paths = {name: str(tmp_path / name) for name in modes}
    assert needed([paths["all"], paths["owner"], str(tmp_path / "gone")]) == frozenset()
    assert needed(paths.values()) == {own}
    assert GroupKeeper(runtime="crun").ask(frozenset()) == NO_GROUPS


def test_the_identity_of_a_process() -> None:
    found = read_identity(Path("/proc/self"))
    assert (found.user, found.group) == (os.geteuid(), os.getegid())
    assert found.groups == set(os.getgroups())
    assert found.user_inside == os.geteuid()


@pytest.mark.parametrize(
    ("mode", "owner", "group", "may"),
    [
        (0o666, False, False, True),
        (0o660, False, False, False),
        (0o660, False, True, True),
        (0o640, False, True, False),
        (0o606, False, True, False),  # the group's bits count for its members, and no others
        (0o600, True, False, True),
        (0o066, True, True, False),
        (0o444, False, False, True),  # nobody may write it, so nobody tries
    ],
)
def test_what_modes_allow(tmp_path: Path, mode: int, owner: bool, group: bool, may: bool) -> None:
    node = tmp_path / "node"
    node.touch()
    node.chmod(mode)
    status = node.stat()
    identity = ProcessIdentity(
        user=status.st_uid if owner else status.st_uid + 1,
        group=status.st_gid + 1,
        groups=frozenset({status.st_gid} if group else ()),
        users_inside=ROOTLESS,
        groups_inside=ROOTLESS,
    )
    assert (computed(tmp_path, identity, ["/node"]) == {}) is may


@pytest.mark.parametrize(
    ("nodes", "opened"),
    [
        (
            ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-modeset", "/dev/dri/renderD128"],
            ["/dev/nvidia0", "/dev/nvidiactl"],
        ),
        (
            ["/dev/kfd", "/dev/dri/renderD128", "/dev/dri/card0"],
            ["/dev/kfd", "/dev/dri/renderD128"],
        ),
        (["/dev/dri/card0"], ["/dev/dri/card0"]),
        (["/dev/nvmap", "/dev/nvhost-gpu", "/dev/dri/card0"], ["/dev/nvmap", "/dev/nvhost-gpu"]),
    ],
)
def test_nodes_for_screens_do_not_matter_where_there_are_others(
    nodes: list[str], opened: list[str]
) -> None:
    assert to_open(nodes) == opened


def test_the_step_fits_the_cause(tmp_path: Path) -> None:
    node = tmp_path / "nvmap"
    node.touch(mode=0o660)
    node.chmod(0o660)
    status = node.stat()
    denied = os.strerror(13)
    other = os.stat_result((*status[:5], 4242, *status[6:]))
    crun, runc = GroupKeeper(runtime="crun"), GroupKeeper(runtime="runc")
    assert 'KERNEL=="nvmap", MODE="0666"' in what_to_do("/dev/nvmap", status, denied, runc)
    assert "use crun" in what_to_do("/dev/nvmap", status, denied, runc)
    assert "usermod --append --groups 4242" in what_to_do("/dev/nvmap", other, denied, crun)
    assert "started before" in what_to_do("/dev/nvmap", status, denied, crun)
    assert "dmesg" in what_to_do("/dev/nvmap", status, "Input/output error", crun)
    node.chmod(0o600)
    assert "its owner" in what_to_do("/dev/nvmap", node.stat(), denied, crun)
