"""The build hook and the notice of a stale build, on a copy of the source tree's parts."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

pytest.importorskip("grpc_tools", reason="the build requirements are not installed here")
pytest.importorskip("hatchling", reason="the build requirements are not installed here")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clone as git has it: protos, hook, package without generated files."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "hatch_build.py", tmp_path)
    wire = tmp_path / "claraedge" / "wire"
    wire.mkdir(parents=True)
    shutil.copy(ROOT / "claraedge" / "__init__.py", wire.parent)
    shutil.copy(ROOT / "claraedge" / "wire" / "__init__.py", wire)
    return tmp_path


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def import_jobs(tree: Path) -> subprocess.CompletedProcess[str]:
    return python(
        tree,
        "-c",
        "from claraedge.wire.nvidia.clara.platform import jobs_pb2 as j; print(j.DESCRIPTOR.name)",
    )


def test_a_clone_without_stubs_says_how_to_build_them(tree: Path) -> None:
    answer = import_jobs(tree)
    assert answer.returncode != 0
    assert "have not been built; run: pip install -e ." in answer.stderr


def test_built_stubs_import_below_wire_under_the_contracts_file_names(tree: Path) -> None:
    assert python(tree, "hatch_build.py").returncode == 0
    answer = import_jobs(tree)
    assert (answer.returncode, answer.stdout) == (0, "nvidia/clara/platform/jobs.proto\n")


def test_stubs_older_than_protos_are_refused_until_built_again(tree: Path) -> None:
    assert python(tree, "hatch_build.py").returncode == 0
    proto = tree / "protos/nvidia/clara/platform/jobs.proto"
    proto.write_text(proto.read_text() + "// changed\n")
    answer = import_jobs(tree)
    assert answer.returncode != 0
    assert "older than protos/; run: pip install -e ." in answer.stderr
    assert python(tree, "hatch_build.py").returncode == 0
    assert import_jobs(tree).returncode == 0


def test_stubs_without_protos_import_as_in_an_installed_package(tree: Path) -> None:
    assert python(tree, "hatch_build.py").returncode == 0
    shutil.rmtree(tree / "protos")
    assert import_jobs(tree).returncode == 0


def test_modules_of_a_removed_file_go_and_nothing_half_made_stays(tree: Path) -> None:
    assert python(tree, "hatch_build.py").returncode == 0
    (tree / "protos/nvidia/clara/platform/models.proto").unlink()
    assert python(tree, "hatch_build.py").returncode == 0
    wire = tree / "claraedge" / "wire"
    assert not list(wire.rglob("models_pb2*"))
    assert not list(wire.glob(".build-*"))


def test_a_broken_file_fails_the_build_and_keeps_the_stubs_that_were_there(tree: Path) -> None:
    assert python(tree, "hatch_build.py").returncode == 0
    proto = tree / "protos/nvidia/clara/platform/jobs.proto"
    good = proto.read_text()
    proto.write_text(good + "message {\n")
    answer = python(tree, "hatch_build.py")
    assert answer.returncode != 0
    assert "jobs.proto" in answer.stderr
    proto.write_text(good)
    assert import_jobs(tree).returncode == 0


def test_the_set_of_descriptors_has_comments_and_is_equal_for_equal_protos(tree: Path) -> None:
    assert python(tree, "hatch_build.py").returncode == 0
    file = tree / "claraedge" / "wire" / "descriptors.pb.gz"
    first = file.read_bytes()
    assert b"Ends a pending or running job." in gzip.decompress(first)
    file.unlink()
    assert python(tree, "hatch_build.py").returncode == 0
    assert file.read_bytes() == first
