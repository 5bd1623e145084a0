"""docs/promises.md names what the documentation promises, and tests that are there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "promises.md"
#: Made from the code by programs of build/, which keep no comments.
GENERATED = {"docs/compatibility.md", "docs/errors.md"}

_ROW = re.compile(
    r"\| (?P<number>\d+) \| (?P<text>[^|]+) \| (?P<pages>[^|]+) \| (?P<tests>[^|]+) \|"
)
_LINK = re.compile(r"\[(?P<name>[\w-]+\.md)\]\((?P<target>[^)]+)\)")
_TEST = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<name>test_\w+)`")
_ANCHOR = re.compile(r"<!-- promise (\d+) -->")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_UNTESTED = re.compile(r"no test(: .+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    number: int
    text: str
    pages: tuple[str, ...]
    """Paths from the root, of the pages that make it."""
    tests: tuple[tuple[str, str], ...]
    """File and function."""


def parse(page: str) -> list[Promise]:
    """Returns the rows of all tables; raises ValueError for one of another form."""
    found = []
    for line in page.splitlines():
        if not line.startswith("|") or re.fullmatch(r"\| \| promise \|.*|\|( --- \|)+", line):
            continue
        row = _ROW.fullmatch(line)
        if row is None:
            raise ValueError(f"no row of a promise: {line[:80]}")
        tests = tuple(_TEST.findall(row["tests"]))
        if not tests and not _UNTESTED.fullmatch(row["tests"]):
            raise ValueError(f"promise {row['number']}: neither a test nor 'no test'")
        if "tests/" in _TEST.sub("", row["tests"]):
            raise ValueError(f"promise {row['number']}: a test that is no `path::name`")
        pages = tuple(_page(link["target"]) for link in _LINK.finditer(row["pages"]))
        if not pages or _LINK.sub("", row["pages"]).strip(", "):
            raise ValueError(f"promise {row['number']}: {row['pages']!r} are not links to pages")
        found.append(Promise(number=int(row["number"]), text=row["text"], pages=pages, tests=tests))
    return found


def _page(target: str) -> str:
    """Returns the path, from the root, of the page that a link leads to."""
    return str((PAGE.parent / target).resolve().relative_to(ROOT))


def anchors(root: Path) -> set[tuple[str, int]]:
    """Returns each page with the numbers of the promises that its comments mark."""
    pages = [root / "README.md", *(root / "docs").glob("*.md")]
    return {
        (str(page.relative_to(root)), int(number))
        for page in pages
        if page.name != PAGE.name
        for number in _ANCHOR.findall(_FENCE.sub("", page.read_text("utf-8")))
    }


@cache
def functions(file: str) -> frozenset[str]:
    """Returns the names of the functions at the top of a file of tests."""
    tree = ast.parse((ROOT / file).read_bytes())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


PROMISES = parse(PAGE.read_text("utf-8"))


def test_the_numbers_are_consecutive() -> None:
    assert [promise.number for promise in PROMISES] == list(range(1, len(PROMISES) + 1))
    assert len(PROMISES) >= 30
    assert len({promise.text for promise in PROMISES}) == len(PROMISES)


def test_each_test_is_there() -> None:
    named = {test for promise in PROMISES for test in promise.tests}
    assert not [file for file, _ in named if not (ROOT / file).is_file()]
    assert not [f"{file}::{name}" for file, name in sorted(named) if name not in functions(file)]


def test_each_promise_stands_where_the_page_says() -> None:
    said = {(page, promise.number) for promise in PROMISES for page in promise.pages}
    assert anchors(ROOT) == said


def test_pages_that_programs_make_have_no_anchor() -> None:
    assert not {page for page, _ in anchors(ROOT)} & GENERATED
    assert all((ROOT / page).is_file() for page in GENERATED)


ROW = "| 1 | Nothing is lost. | [README.md](../README.md), [inbox.md](inbox.md) | {} |"


def test_a_row_is_read() -> None:
    (row,) = parse(ROW.format("`tests/a/test_b.py::test_c`<br>not tested: the rest"))
    assert row.pages == ("README.md", "docs/inbox.md")
    assert row.tests == (("tests/a/test_b.py", "test_c"),)
    for untested in ("no test", "no test: it is too large"):
        assert parse(ROW.format(untested))[0].tests == ()


@pytest.mark.parametrize(
    "row",
    [
        ROW.format(""),
        ROW.format("some test"),
        ROW.format("`tests/a/test_b.py::test_c`, `tests/a/test_b.py`"),
        ROW.format("no test").replace("1", "one", 1),
        ROW.format("no test").replace("[inbox.md](inbox.md)", "inbox.md"),
    ],
)
def test_a_row_that_says_nothing_is_refused(row: str) -> None:
    with pytest.raises(ValueError, match=r"promise|inbox\.md"):
        parse(row)


def test_an_anchor_in_a_sample_of_code_is_none(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("a <!-- promise 1 -->\n```sh\n# <!-- promise 2 -->\n```\n")
    (tmp_path / "docs/a.md").write_text("| x <!-- promise 3 --> |\n<!-- promise 4 -->\n")
    assert anchors(tmp_path) == {("README.md", 1), ("docs/a.md", 3), ("docs/a.md", 4)}
