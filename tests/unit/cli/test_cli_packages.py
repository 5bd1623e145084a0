"""Commands for packages, against a whole daemon."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from test_cli_changes import home, of

__all__ = ["home"]

MANIFEST = """
name: camera
packageVersion: VERSION
description: |
  sees
  around
plans:
- name: default
  singleton: true
  metadata: {claraedge: {gpu: 1}}
  components:
  - name: front
    requiredRuntime: device
    architecture: amd64
    parameters: [{name: RATE}, {name: SIZE, default: "5"}]
    executables:
    - {name: main, docker: "camera:1", cmd: ["cd /x", "./run"], limits: {cpu: 0.5, memory: 64}}
    cloudInfra: {endpoints: [{name: page, port: 80, targetPort: 8080, proto: HTTP}]}
    ros: {isROS: true, ros_distro: noetic}
"""


def create(claraedge, home: Path, version: str = "v1") -> str:
    file = home / "camera.yaml"
    file.write_text(MANIFEST.replace("VERSION", version))
    answer = claraedge("create", "package", "-f", file)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("PACKAGE_ID:pkg-")
    return answer.out.strip().removeprefix("PACKAGE_ID:")


def test_a_package_from_its_manifest_to_its_end(home: Path, claraedge) -> None:
    first, second = create(claraedge, home), create(claraedge, home, "v2")
    listed = claraedge("list", "packages")
    assert [line.split()[:3] for line in listed.out.splitlines()] == [
        ["NAME", "VERSION", "ID"], ["camera", "v1", first], ["camera", "v2", second],
    ]  # fmt: skip
    assert claraedge("list", "package", "-q").out == f"{first}\n{second}\n"
    described = claraedge("describe", "package", "camera:v1")
    assert described.code == 0, described.err
    lines = [" ".join(line.split()) for line in described.out.splitlines()]
    plan, component, executable = (
        next(line for line in lines if line.startswith(key)).split()[1:]
        for key in ("PLAN:", "COMPONENT:", "EXECUTABLE:")
    )
    assert lines[:3] == ["NAME: camera", "VERSION: v1", f"PACKAGE_ID: {first}"]
    assert "DESCRIPTION: sees\\naround\\n" in lines
    assert (plan[0], plan[2]) == ("default", "singleton")
    assert (component[0], component[2:]) == (
        "front", ["device", "amd64", "restart", "ALWAYS", "ROS", "noetic"],
    )  # fmt: skip
    assert (executable[0], " ".join(executable[2:])) == (
        "main", "camera:1 cd /x ; ./run 64 MB 0.5 cores 1 GPUs",
    )  # fmt: skip
    assert {"PARAMETER: RATE", "PARAMETER: SIZE=5", "ENDPOINT: page HTTP 80 -> 8080"} <= {*lines}
    answer = claraedge("delete", "packages", first[:20], "camera")
    assert (answer.code, answer.out) == (0, f"{first}\n{second}\n")
    assert of(claraedge, "list", "packages") == {"packages": []}


def test_json_has_all_of_it(home: Path, claraedge) -> None:
    file = home / "camera.yaml"
    file.write_text(MANIFEST.replace("VERSION", "v1"))
    made = of(claraedge, "create", "package", "-f", file)
    assert {**made, "package_id": ""} == {"package_id": "", "name": "camera", "version": "v1"}
    found = of(claraedge, "describe", "package", made["package_id"])
    assert json.loads(found["manifest"])["packageVersion"] == "v1"
    (component,) = found["plans"][0]["components"]
    assert component["restart_policy"] == "ALWAYS"
    assert [p["default"] for p in component["parameters"]] == [None, "5"]
    (listed,) = of(claraedge, "list", "packages")["packages"]
    assert listed == {**found, "manifest": ""}
    assert found["created"].endswith("Z")
    assert of(claraedge, "delete", "package", "camera") == {"deleted": [made["package_id"]]}


def test_a_manifest_may_come_from_standard_input(home: Path, claraedge, monkeypatch) -> None:
    text = io.TextIOWrapper(io.BytesIO(MANIFEST.replace("VERSION", "v7").encode()))
    monkeypatch.setattr(sys, "stdin", text)
    assert claraedge("create", "package", "-f", "-").code == 0
    assert claraedge("describe", "package", "camera:v7").code == 0


def test_all_mistakes_are_printed_with_the_name_of_the_file(home: Path, claraedge) -> None:
    file = home / "wrong.yaml"
    file.write_text(MANIFEST.replace("amd64", "amd65").replace("memory: 64", "memory: -1"))
    file.write_text(file.read_text().replace("VERSION", '"a b"'))
    answer = claraedge("create", "package", "-f", file)
    assert (answer.code, answer.out) == (1, "")
    first, *rest = answer.err.splitlines()
    assert first == f"claraedge: {file}:"
    assert sorted(line.split(":")[0].strip() for line in rest) == [
        "packageVersion",
        "plans[0].components[0].architecture",
        "plans[0].components[0].executables[0].limits.memory",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: \xff", ":1:7: the file is not UTF-8"),
        (b"x" * (2 << 20), "larger than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path, claraedge, content, said) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(content)
    answer = claraedge("create", "package", "-f", file)
    assert answer.code == 1
    assert said in answer.err


def test_the_same_package_again_names_the_first(home: Path, claraedge) -> None:
    first = create(claraedge, home)
    answer = claraedge("create", "package", "-f", home / "camera.yaml")
    assert answer.code == 1
    assert first in answer.err


def test_nothing_is_deleted_if_one_of_them_is_wrong(home: Path, claraedge) -> None:
    first = create(claraedge, home)
    answer = claraedge("delete", "packages", first, "none")
    assert (answer.code, answer.out) == (1, "")
    assert "there is no package `none`; `claraedge list packages` shows" in answer.err
    assert claraedge("list", "packages", "-q").out == f"{first}\n"
