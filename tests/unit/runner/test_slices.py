"""Whom the kernel killed for memory, by what it counts in a slice that outlives the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.runner.containers.specgen import create_request
from claraedge.runner.protocol import LABEL_SLICE, ContainerSpec, Limit
from claraedge.runner.workarounds.slices import Slices


def counted(manager: Path, name: str, kills: int) -> Path:
    """The control group of a slice, as the kernel shows it."""
    folder = manager / "claraedge.slice" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.events").write_text(
        f"low 0\nhigh 0\nmax 35\noom 9\noom_kill {kills}\noom_group_kill 1\n"
    )
    return folder


def test_a_kill_is_distinguished_from_those_before(tmp_path: Path) -> None:
    slices = Slices(tmp_path)
    counted(tmp_path, "claraedge-0.slice", 17)
    taken = slices.take("a")
    assert (taken.name, taken.label) == ("claraedge-0.slice", "claraedge-0.slice 17")
    assert not slices.killed(taken.label)
    counted(tmp_path, "claraedge-0.slice", 18)
    assert slices.killed(taken.label)
    assert not slices.killed(slices.take("a").label)


def test_a_slice_that_is_not_there_yet_has_no_kills(tmp_path: Path) -> None:
    slices = Slices(tmp_path)
    taken = slices.take("a")
    assert not slices.killed(taken.label)
    counted(tmp_path, taken.name, 1)
    assert slices.killed(taken.label)


def test_no_two_containers_have_the_same_slice_at_once(tmp_path: Path) -> None:
    slices = Slices(tmp_path)
    first, second = slices.take("a").name, slices.take("b").name
    assert first != second
    slices.hand_over("a", "id of a")
    slices.free("a")
    assert slices.take("c").name not in (first, second)
    slices.free("id of a")
    assert slices.take("d").name == first


def test_what_runs_since_an_earlier_daemon_keeps_its_slice(tmp_path: Path) -> None:
    (counted(tmp_path, "claraedge-0.slice", 0) / "libpod-1.scope").mkdir()
    counted(tmp_path, "claraedge-1.slice", 3)
    assert Slices(tmp_path).take("a").label == "claraedge-1.slice 3"


@pytest.mark.parametrize("label", ["", "claraedge-0.slice", "claraedge-0.slice x", "none 0"])
def test_a_container_that_is_in_no_slice_was_not_killed(tmp_path: Path, label: str) -> None:
    counted(tmp_path, "claraedge-0.slice", 5)
    assert not Slices(tmp_path).killed(label)


def said(request: dict[str, object]) -> dict[str, str]:
    """The labels that are not empty."""
    labels = request["labels"]
    assert isinstance(labels, dict)
    return {name: value for name, value in labels.items() if value}


def test_a_container_is_put_there_and_ends_as_a_whole(tmp_path: Path) -> None:
    spec = ContainerSpec(name="a", image="0" * 64, log_path=tmp_path / "log", labels={"job": "7"})
    place = Slices(tmp_path).take("a")
    request = create_request(spec, None, place=place)
    assert request["cgroup_parent"] == "claraedge-0.slice"
    assert said(request) == {"job": "7", LABEL_SLICE: "claraedge-0.slice 0"}
    assert request["annotations"] == {"org.systemd.property.KillSignal": "9"}
    assert request["resource_limits"] == {
        "pids": {"limit": 4096},
        "unified": {"memory.oom.group": "1"},
    }
    bare = create_request(spec, None, limits={Limit.PIDS})
    assert not {"cgroup_parent", "annotations"} & set(bare)
    assert bare["resource_limits"] == {"pids": {"limit": 4096}}
    assert said(bare) == {"job": "7"}
