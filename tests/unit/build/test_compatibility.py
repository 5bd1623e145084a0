"""docs/compatibility.md says what the tests of cases from the field say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.field.tools import GROUPS, TOOLS, packages, why_missing

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = "build/lib/compatibility.py"
COPIED = (SCRIPT, "pyproject.toml", "tests/conftest.py", "tests/campaign.py", "tests/__init__.py",
          "tests/field/__init__.py", "tests/field/case.py", "tests/field/tools.py")  # fmt: skip
TEST = """\
from tests.field.case import case


@case(2, "a | b", source="x/y#1", outcome={outcome!r}, tools=["rsync", "macOS Finder"])
def test_it() -> None:
    pass
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", folder / SCRIPT, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_page_is_what_the_tests_say() -> None:
    ended = run(ROOT, "--check")
    assert ended.returncode == 0, ended.stderr


def test_a_page_that_drifted_is_noticed_but_for_versions(tmp_path: Path) -> None:
    for name in COPIED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    test, page = tmp_path / "tests/field/test_it.py", tmp_path / "docs/compatibility.md"
    page.parent.mkdir()
    test.write_text(TEST.format(outcome="One job."))
    assert run(tmp_path, "--check").returncode == 1
    page.write_text("| rsync | 1.2.3 | x | y |\n| macOS Finder | imitated | x | y |\n")
    sys_path = str(tmp_path / "build/lib")
    made = subprocess.run(
        [sys.executable, "-B", "-c", "import sys; sys.path.insert(0, sys.argv[1])\n"
         "import compatibility as c\n"
         "print(c.page(c.cases(), c.versions_in(c.TARGET.read_text())), end='')", sys_path],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "| rsync | 1.2.3 | a \\| b | One job. |" in made
    assert "| macOS Finder | imitated | a \\| b | One job. |" in made
    assert "| a \\| b | One job. | x/y#1 | rsync, macOS Finder |" in made
    page.write_text(made.replace("1.2.3", "4.5.6"))
    assert run(tmp_path, "--check").returncode == 0
    test.write_text(TEST.format(outcome="Two jobs."))
    assert run(tmp_path, "--check").returncode == 1


def test_every_program_has_a_place_and_a_way_to_be_found() -> None:
    for tool in TOOLS.values():
        assert tool.group in GROUPS
        assert [bool(tool.command), bool(tool.python), bool(tool.imitated)].count(True) == 1, tool


def test_the_packages_are_printed_for_the_set_up() -> None:
    ended = subprocess.run(
        ["python3", "-I", "-B", ROOT / "tests/field/tools.py"], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert ended.stdout.split() == packages()


def test_a_program_that_nobody_knows_is_missing() -> None:
    assert (
        why_missing(["no such program"]) == "tests/field/tools.py does not know 'no such program'"
    )
