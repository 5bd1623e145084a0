"""The suite's own guard: a required test that was skipped fails, others may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[2] / "conftest.py"
BUILD = Path(__file__).resolve().parents[3] / "build"


def run(tmp_path: Path, test: str, *, required: bool) -> subprocess.CompletedProcess[str]:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  podman\n  frozen\n  field\n")
    (tmp_path / "build").symlink_to(BUILD)
    suite = tmp_path / "tests"
    suite.mkdir()
    (suite / "conftest.py").write_text(CONFTEST.read_text())
    (suite / "test_it.py").write_text(f"import pytest\n{test}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TESTS_")}
    if required:
        environment["CLARAEDGE_REQUIRE_PODMAN"] = "1"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(suite)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


SKIPS_ITSELF = "@pytest.mark.podman\ndef test_it():\n    pytest.skip('no image')\n"
SKIPPED_BY_MARK = "@pytest.mark.frozen\n@pytest.mark.skip(reason='x')\ndef test_it(): pass\n"
LACKS_A_PROGRAM = "@pytest.mark.field(tools=('no such program',))\ndef test_it(): pass\n"
SKIPPED_MODULE = "pytest.skip('nothing here', allow_module_level=True)\n"
ORDINARY = "def test_it():\n    pytest.skip('no GPU')\n"


@pytest.mark.parametrize("test", [SKIPS_ITSELF, SKIPPED_BY_MARK, LACKS_A_PROGRAM])
def test_a_required_test_that_is_skipped_fails(tmp_path: Path, test: str) -> None:
    ended = run(tmp_path, test, required=True)
    assert ended.returncode == 1
    assert "had to run and was not" in ended.stdout
    assert "1 failed" in ended.stdout or "1 error" in ended.stdout  # in the call, or before it


def test_a_module_that_skips_itself_fails(tmp_path: Path) -> None:
    ended = run(tmp_path, SKIPPED_MODULE, required=True)
    assert ended.returncode != 0
    assert "was skipped as a whole" in ended.stdout


@pytest.mark.parametrize("test", [SKIPS_ITSELF, SKIPPED_BY_MARK, LACKS_A_PROGRAM, SKIPPED_MODULE])
def test_without_the_requirement_a_skip_is_a_skip(tmp_path: Path, test: str) -> None:
    ended = run(tmp_path, test, required=False)
    assert "1 skipped" in ended.stdout
    assert "failed" not in ended.stdout


def test_another_test_may_be_skipped(tmp_path: Path) -> None:
    ended = run(tmp_path, ORDINARY, required=True)
    assert ended.returncode == 0
    assert "1 skipped" in ended.stdout


def test_not_one_test_is_a_failure(tmp_path: Path) -> None:
    assert run(tmp_path, "", required=True).returncode == 5
