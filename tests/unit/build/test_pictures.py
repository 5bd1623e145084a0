"""Pictures in the documentation show the pages as they are now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "build/lib/pictures.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_pictures_were_made_from_the_pages_as_they_are() -> None:
    pictures = module()
    made_from = pictures.STAMP.read_text(encoding="ascii").strip()
    assert made_from == pictures.fingerprint(), "run build/screenshots, and read docs/pictures"


def test_each_picture_is_shown_with_its_text() -> None:
    shown = {}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text("utf-8")):
            assert len(text) > 20, (page, target)
            shown[(page.parent / target).resolve()] = text
    pictures = module()
    assert {pictures.PICTURES / name for name in pictures.COPIED} <= set(shown)
    assert [path for path in shown if not path.is_file()] == []
