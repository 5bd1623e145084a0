"""Retired words of the glossary are used nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GLOSSARY = ROOT / "docs" / "glossary.md"
#: What people read or write; generated code and locked dependencies are others' words.
PLACES = ("claraedge", "protos", "docs", "tests", "build", "systemd", "examples", ".")
KINDS = {".py", ".md", ".proto", ".toml", ".sql", ".sh", ".yaml", ".service", ".conf", ""}


def retired() -> list[str]:
    """Returns the words of the columns `was called`, without the remarks in parentheses."""
    words = []
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) in (2, 4) and cells[-1] not in ("was called", "---"):
            words += re.sub(r"\([^)]*\)", "", cells[-1]).split(",")
    return [word.strip() for word in words if word.strip()]


def pattern(words: list[str]) -> re.Pattern[str]:
    """Matches the words as text, as a part of snake_case, and as a class."""
    plain = "|".join(re.escape(word.lower()) for word in words)
    return re.compile(rf"(?<![a-z])(?:{plain})(?![a-z])", re.I)


def texts() -> Iterator[Path]:
    for place in PLACES:
        found = (ROOT / place).glob("*") if place == "." else (ROOT / place).rglob("*")
        for path in found:
            generated = "_pb2" in path.name or "__pycache__" in path.parts
            if (
                path.is_file()
                and path.suffix in KINDS
                and not generated
                and path not in (GLOSSARY, Path(__file__))
            ):
                yield path


def uses(path: Path, wanted: re.Pattern[str]) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    return [
        f"{path.relative_to(ROOT)}:{number}: {found[0]}"
        for number, line in enumerate(lines, 1)
        if (found := wanted.search(line))
    ]


def test_the_pattern_finds_words_in_names_and_sentences() -> None:
    wanted = pattern(["held", "goes on", "WaitingRoom"])
    for text in ("is held by", "_held", "held_back", "it goes on", "WaitingRoom(", "HELD"):
        assert wanted.search(text), text
    for text in ("withheld", "shielded", "upheld", "waiting rooms"):
        assert not wanted.search(text), text


def test_retired_words_are_used_nowhere() -> None:
    words = retired()
    assert {"held", "Floor", "SeenBook", "mend"} <= set(words)
    assert sum(1 for path in texts() if path.suffix == ".py") > 500
    wanted = pattern(words)
    assert [use for path in texts() for use in uses(path, wanted)] == []
