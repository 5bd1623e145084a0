"""What is known to go wrong with CDI specs, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from claraedge.gpu.cdi import all_nodes, state
from claraedge.gpu.faults import by_spec, none_seen, unresolved

KIND = "nvidia.com/gpu"
GPU = f"{KIND}=0"
Edits = Mapping[str, object]


def write(path: Path, own: Edits, common: Edits | None = None, version: str = "0.5.0") -> Path:
    path.parent.mkdir(exist_ok=True)
    content: dict[str, object] = {
        "cdiVersion": version,
        "kind": KIND,
        "devices": [{"name": "0", "containerEdits": own}],
    }
    path.write_text(json.dumps(content | ({"containerEdits": common} if common else {})))
    return path


def node(path: str) -> Edits:
    return {"deviceNodes": [{"path": path}]}


def test_a_spec_with_which_nothing_is_wrong(tmp_path: Path) -> None:
    hooks = {"hooks": [{"hookName": "createContainer", "path": "/bin/sh"}]}
    mounts = {"mounts": [{"hostPath": "/etc", "containerPath": "/x"}]}
    write(tmp_path / "a.json", node("/dev/null"), {**node("/dev/zero"), **hooks, **mounts})
    assert by_spec(GPU, [tmp_path]) is None
    assert unresolved(GPU, "Podman 4.3.1", [tmp_path]) is None
    assert none_seen([tmp_path]) is None
    assert list(all_nodes(GPU, [tmp_path])) == ["/dev/null", "/dev/zero"]


def test_what_is_missing_for_all_devices_counts_as_well(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", node("/dev/null"), node("/dev/nothing-such"))
    text = str(by_spec(GPU, [tmp_path]))
    assert text.startswith(f"/dev/nothing-such of {path} is not on this machine: its driver")


def test_how_many_libraries_are_gone_is_said_once(tmp_path: Path) -> None:
    gone = [{"hostPath": f"/usr/lib/gone.so.{n}", "containerPath": "/x"} for n in range(40)]
    write(tmp_path / "a.json", {**node("/dev/null"), "mounts": gone})
    assert "/usr/lib/gone.so.0 (and 39 more) of" in str(by_spec(GPU, [tmp_path]))


def test_the_spec_that_counts_is_checked(tmp_path: Path) -> None:
    old, new = tmp_path / "etc", tmp_path / "run"
    write(old / "a.json", node("/dev/nothing-such"))
    write(new / "a.json", node("/dev/null"))
    assert by_spec(GPU, [old, new]) is None
    assert unresolved(GPU, "Podman", [old, new]) is None  # the later folder wins
    assert "is not on this machine" in str(by_spec(GPU, [new, old]))


@pytest.mark.parametrize(
    ("edits", "version", "newer"),
    [
        ({}, "0.6.0", "cdiVersion 0.6.0"),
        ({"additionalGids": [44]}, "0.7.0", "cdiVersion 0.7.0, additionalGids"),
        ({"intelRdt": {"closID": "x"}}, "0.5.0", "intelRdt"),
        ({"deviceNodes": [{"path": "/dev/null", "odd": 1}]}, "0.5.0", "odd"),
    ],
)
def test_what_is_newer_than_podman_is_named(
    tmp_path: Path, edits: Edits, version: str, newer: str
) -> None:
    path = write(tmp_path / "a.json", edits, version=version)
    text = str(unresolved(GPU, "Podman 4.3.1", [tmp_path]))
    assert f"Podman 4.3.1 does not read {path}, which" in text
    assert f"({newer})" in text


def test_files_that_nobody_can_read_are_named_where_no_gpu_is_seen(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text("devices: [")
    write(tmp_path / "other.yml", node("/dev/null"))
    text = str(none_seen([tmp_path]))
    assert f"{tmp_path}/nvidia.yaml: " in text
    assert f"{tmp_path}/other.yml: only names that end with .yaml or .json count" in text
    assert "sudo chmod a+r" in text


def test_the_state_of_a_device_changes_with_what_it_depends_on(tmp_path: Path) -> None:
    library = tmp_path / "lib.so"
    edits = {"mounts": [{"hostPath": str(library), "containerPath": "/x"}], **node("/dev/null")}
    path = write(tmp_path / "a.json", edits)
    states = [state(GPU, [tmp_path])]
    assert state(GPU, [tmp_path]) == states[0]
    library.touch()
    states.append(state(GPU, [tmp_path]))
    library.chmod(0o600)
    states.append(state(GPU, [tmp_path]))
    path.unlink()
    states.append(state(GPU, [tmp_path]))
    assert len({repr(s) for s in states}) == len(states)
