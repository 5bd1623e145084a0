"""docs/settings.md and docs/command-line.md match the code, and each setting is explained."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import msgspec
import pytest

from claraedge import config
from claraedge.cli.main import app

ROOT = Path(__file__).resolve().parents[3]


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [root / "build/reference", *arguments],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    path = ROOT / "build/lib/reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_match_the_code() -> None:
    ended = run(ROOT, "--check")
    assert ended.returncode == 0, ended.stderr


def test_a_page_that_is_out_of_date_is_noticed(tmp_path: Path) -> None:
    for name in ("build/reference", "build/lib/reference.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "build/reference").chmod(0o755)
    (tmp_path / "claraedge").symlink_to(ROOT / "claraedge")
    assert run(tmp_path, "--check").returncode == 1
    assert run(tmp_path).returncode == 0
    assert run(tmp_path, "--check").returncode == 0
    for name, before, after in (
        ("settings.md", "at most 86400", "at most 86401"),
        ("command-line.md", "`--payloads`", "`--payload`"),
    ):
        page = tmp_path / "docs" / name
        text = page.read_text()
        assert before in text
        page.write_text(text.replace(before, after))
        ended = run(tmp_path, "--check")
        assert ended.returncode == 1
        assert f"docs/{name} is stale" in ended.stderr
        page.write_text(text)


def test_every_command_is_on_the_page(reference: ModuleType) -> None:
    def paths(command: click.Command, path: str) -> list[str]:
        below = command.commands if isinstance(command, click.Group) else {}
        return [path, *(p for name, c in below.items() for p in paths(c, f"{path} {name}"))]

    lines = reference.command_line().splitlines()
    for path in paths(app, "claraedge"):
        assert f"## `{path}`" in lines or f"### `{path}`" in lines


def test_every_variable_and_section_is_on_the_page(reference: ModuleType) -> None:
    page = reference.settings()
    for name in config.VARIABLES:
        assert f"Also set by `{name}`" in page
    for section in ("[inbox]", "[[inbox.trigger]]", "[images.credentials.NAME]", "[log]"):
        assert f"\n## `{section}`\n" in page


@pytest.mark.parametrize(
    ("text", "default"),
    [("", 1.0), ("Default: none.", None), ("How long it lasts.", None)],
    ids=["no docstring", "only a default", "no default"],
)
def test_a_setting_without_explanation_is_refused(
    reference: ModuleType, text: str, default: float | None
) -> None:
    kind = msgspec.defstruct("Section", [("seconds", float | None, default)])
    (field,) = msgspec.structs.fields(kind)
    with pytest.raises(ValueError, match=r"^section\.seconds: "):
        reference.explain("section.seconds", text, field)


def test_only_docstrings_directly_under_an_attribute_count(reference: ModuleType) -> None:
    source = 'class A:\n    """Of A."""\n\n    a: int = 1\n    """Of a."""\n    b: int = 2\n'
    assert reference.docstrings(source) == {"a": "Of a."}
