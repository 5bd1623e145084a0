"""The layer contracts hold, and each of them notices what it forbids."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: Modules of a folder.
MOST = 14


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()",
         "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copy(ROOT / ".importlinter", tmp_path)
    shutil.copytree(
        ROOT / "claraedge", tmp_path / "claraedge", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path


def test_the_contracts_hold(source: Path) -> None:
    ended = lint(source)
    assert ended.returncode == 0, ended.stdout
    assert "0 broken" in ended.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("pipelines/model.py", "import claraedge.store.database", "definition language is pure"),
        ("pipelines/syntax/reader.py", "import asyncio", "definition language is pure"),
        ("jobs/engine/engine.py", "import claraedge.api", "knows only the rooms below"),
        ("store/database.py", "import claraedge.daemon", "knows only the rooms below"),
        ("jobs/logs/logs.py", "import claraedge.jobs.engine.engine", "district of jobs"),
        ("inbox/triggers/triggers.py", "import claraedge.inbox.watching.watch", "of the inbox"),
        ("runner/service/http.py", "import claraedge.runner.images.pulls", "of the runner"),
        ("api/jobs.py", "import claraedge.api.payloads", "services of the API"),
        ("cli/main.py", "import claraedge.store.database", "through the client only"),
        ("jobs/scheduling/admission.py", "import time", "Decisions take values"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(
    source: Path, module: str, line: str, contract: str
) -> None:
    with (source / "claraedge" / module).open("a") as file:
        file.write(f"\n{line}\n")
    ended = lint(source)
    assert ended.returncode == 1
    broken = [text for text in ended.stdout.splitlines() if " BROKEN" in text]
    assert any(contract in text for text in broken), ended.stdout


@pytest.mark.parametrize("place", ["unknown.py", "jobs/unknown.py", "inbox/unknown/__init__.py"])
def test_a_module_that_no_layer_names_is_refused(source: Path, place: str) -> None:
    added = source / "claraedge" / place
    added.parent.mkdir(exist_ok=True)
    added.write_text('"""It belongs to no room."""\n')
    ended = lint(source)
    assert ended.returncode == 1
    assert "unknown" in ended.stdout


def test_each_folder_can_be_seen_at_a_glance() -> None:
    """The command line has a module for each of its commands."""
    modules = Counter(
        path.parent
        for path in (ROOT / "claraedge").rglob("*.py")
        if not {"cli", "wire"} & set(path.relative_to(ROOT / "claraedge").parts)
    )
    assert {str(folder): count for folder, count in modules.items() if count > MOST} == {}
