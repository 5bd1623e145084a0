"""docs/architecture.md names modules that exist, and every table of the database."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/architecture.md"
#: A path of the package, a pattern of paths, or a folder; not the end of a longer path.
_PATH = re.compile(r"(?<![\w/.-])(?:claraedge|tests|systemd)/[\w./*-]*\w[\w*]*/?")
_TABLE = re.compile(r"(?:CREATE TABLE(?: IF NOT EXISTS)?|RENAME TO) (\w+)")
_ROW = re.compile(r"(?m)^\| `(\w+)` \|")


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def tables() -> set[str]:
    """Names of all tables that a step of the schema makes, also of those that a later one drops."""
    store = ROOT / "claraedge/store"
    sources = [*store.rglob("*.py"), *store.rglob("*.sql")]
    return {name for file in sources for name in _TABLE.findall(file.read_text(encoding="utf-8"))}


def test_every_path_of_the_page_exists() -> None:
    paths = set(_PATH.findall(page()))
    assert len(paths) > 100, "the page names the modules of each step"
    missing = sorted(path for path in paths if not any(ROOT.glob(path.rstrip("/"))))
    assert missing == []


def test_every_table_is_on_the_page() -> None:
    named = set(_ROW.findall(page().partition("\n## The schema\n")[2].partition("\n## ")[0]))
    assert named == tables()


def test_the_rules_of_the_code_lead_to_the_page() -> None:
    assert "(docs/architecture.md)" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
