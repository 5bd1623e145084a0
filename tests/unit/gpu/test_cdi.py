"""The GPUs that a machine's CDI specs name."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from claraedge.gpu.cdi import devices, nodes

KIND = "nvidia.com/gpu"


def spec(path: Path, *names: object, kind: str = KIND) -> None:
    content = {"cdiVersion": "0.5.0", "kind": kind, "devices": [{"name": n} for n in names]}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(content))
    else:
        entries = "".join(f"\n- name: {n}\n  containerEdits: {{}}" for n in names)
        path.write_text(f"cdiVersion: 0.5.0\nkind: {kind}\ndevices:{entries or ' []'}\n")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((0, "all"), ("0",)),
        (("0", "1", "GPU-1a", "GPU-2b", "all"), ("0", "1")),
        (("GPU-1a", "GPU-2b", "all"), ("GPU-1a", "GPU-2b")),
        (("0:0", "0:1", "MIG-1a", "all"), ("0:0", "0:1")),
        (("MIG-1a", "MIG-2b", "all"), ("MIG-1a", "MIG-2b")),
        (("all",), ("all",)),
        (("left", "right"), ("left", "right")),
        ((), ()),
    ],
)
@pytest.mark.parametrize("name", ["nvidia.yaml", "nvidia.json"])
def test_which_names_are_devices(
    tmp_path: Path, names: tuple[object, ...], found: tuple[str, ...], name: str
) -> None:
    spec(tmp_path / name, *names)
    assert devices(KIND, [tmp_path]) == tuple(f"{KIND}={n}" for n in found)


def test_other_kinds_and_other_files_are_left_out(tmp_path: Path) -> None:
    spec(tmp_path / "a.json", "0", kind="vendor.com/fpga")
    spec(tmp_path / "notes.txt", "1")
    assert devices(KIND, [tmp_path]) == ()
    assert devices("vendor.com/fpga", [tmp_path]) == ("vendor.com/fpga=0",)


def test_a_device_that_two_folders_name_is_one(tmp_path: Path) -> None:
    spec(tmp_path / "etc" / "a.json", "0", "1")
    spec(tmp_path / "run" / "a.yaml", "1", "2")
    folders = [tmp_path / "etc", tmp_path / "run", tmp_path / "missing"]
    assert devices(KIND, folders) == tuple(f"{KIND}={n}" for n in "012")


@pytest.mark.parametrize(
    "content", [b"{", b"devices: 3", b"\xff\xfe", b"", b"- a", b"kind: 2026-13-01"]
)
def test_a_spec_that_cannot_be_read_is_left_out_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    spec(tmp_path / "good.json", "0")
    (tmp_path / "bad.yaml").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert devices(KIND, [tmp_path]) == (f"{KIND}=0",)
    assert [r.path for r in caplog.records] == [str(tmp_path / "bad.yaml")]  # type: ignore[attr-defined]


def test_a_spec_that_comes_late_changes_or_goes_is_noticed(tmp_path: Path) -> None:
    assert devices(KIND, [tmp_path]) == ()
    path = tmp_path / "nvidia.json"
    spec(path, "0")
    assert devices(KIND, [tmp_path]) == (f"{KIND}=0",)
    new = tmp_path / "new"
    spec(tmp_path / "new.json", "7")
    (tmp_path / "new.json").rename(new)
    new.replace(path)
    assert devices(KIND, [tmp_path]) == (f"{KIND}=7",)
    path.unlink()
    assert devices(KIND, [tmp_path]) == ()


def test_a_spec_that_becomes_readable_is_read(tmp_path: Path) -> None:
    path = tmp_path / "nvidia.json"
    path.write_text("{")
    assert devices(KIND, [tmp_path]) == ()
    spec(path, "0")
    assert devices(KIND, [tmp_path]) == (f"{KIND}=0",)


def test_the_nodes_of_a_device_are_those_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text(
        "cdiVersion: 0.5.0\n"
        "kind: nvidia.com/gpu\n"
        "containerEdits: {deviceNodes: [{path: /dev/nvidiactl}]}\n"
        "devices:\n"
        "- name: 0\n"
        "  containerEdits:\n"
        "    deviceNodes:\n"
        "    - path: /dev/nvidia0\n"
        "    - {path: /dev/dri/card0, hostPath: /dev/dri/card1, type: c}\n"
        "    - {path: /run/pipe, type: p}\n"
        "- name: '1'\n"
        "  containerEdits: {env: [A=b]}\n"
        "- name: '2'\n"
        "  containerEdits:\n"
    )
    assert nodes(f"{KIND}=0", [tmp_path]) == {
        "/dev/nvidia0": "/dev/nvidia0",
        "/dev/dri/card0": "/dev/dri/card1",
    }
    assert nodes(f"{KIND}=1", [tmp_path]) == {}
    assert nodes(f"{KIND}=2", [tmp_path]) == {}
    assert nodes(f"{KIND}=3", [tmp_path]) is None
    assert nodes("vendor.com/fpga=0", [tmp_path]) is None


def test_of_a_device_that_two_folders_name_the_later_one_counts(tmp_path: Path) -> None:
    for folder in ("etc", "run"):
        (tmp_path / folder).mkdir()
        edits = {"deviceNodes": [{"path": f"/dev/{folder}"}]}
        content = {"kind": KIND, "devices": [{"name": "0", "containerEdits": edits}]}
        (tmp_path / folder / "a.json").write_text(json.dumps(content))
    assert nodes(f"{KIND}=0", [tmp_path / "etc", tmp_path / "run"]) == {"/dev/run": "/dev/run"}
