"""Makes docs/compatibility.md of the marks of the tests in tests/field.

    python build/lib/compatibility.py            prints the page
    python build/lib/compatibility.py --check    says whether it is up to date, but for versions

Needs pytest, and without --check every program of tests/field/tools.py, for its version.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.field.case import KINDS  # noqa: E402
from tests.field.tools import GROUPS, TOOLS, Tool, version  # noqa: E402

TARGET = ROOT / "docs" / "compatibility.md"

_HEAD = """\
# Compatibility

Made by `build/compatibility` from the tests in `tests/field`; do not edit.

Each line is a test that passes: what somebody did, who reported that another system failed at it
(or where the behaviour is documented), and what claraedge does. The programs of the first part are
the real ones of Debian 12 (rclone, Node.js and pydicom: of PyPI) in the versions given, and ran on
one machine over loopback. Those that are "imitated" cannot run in a test: their files were made by
hand, with the names, the content and the order that their sources, documentation or the reports
say. What is not listed was not tried.

## What to choose

Where a transfer is interrupted for good, nothing can distinguish half a file that has its final
name from a whole one. So let the program write under another name and rename at the end.
A DICOM image is known by its content: one whose pixels are not all there keeps its study waiting.

- rsync does by itself, also with `--partial-dir` and `--delay-updates`; not with `-P`, `--partial`
  or `--inplace`. rclone does by itself from 1.63 on; not with `--inplace`.
- WinSCP: "Transfer to temporary filename" for all files. lftp: `set xfer:use-temp-file yes`.
- FTP servers: `HiddenStores on` of ProFTPD. A client that is killed ends its file there as a whole
  one; a line that breaks does not.
- aria2 and `pget` of lftp write under the final name, but keep a file of their own next to it,
  which is waited for.
- scp, sftp, curl, SMB clients, cp and unpackers write under the final name. They are waited for
  while they have the file open, and for `settle_seconds` after that: start an interrupted one again
  within that time.

"""
_PROGRAMS = ("program", "version", "what was tried", "what came out")
_CASES = ("case", "what came out", "source", "programs")


@dataclass(frozen=True, slots=True)
class Case:
    kind: int
    name: str
    source: str
    outcome: str
    tools: Sequence[str]


class _Collector:
    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}

    def pytest_collection_modifyitems(self, items: Iterable[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("field"):
                case = Case(**mark.kwargs)
                if self.cases.setdefault(case.name, case) != case:
                    raise SystemExit(f"{item.nodeid}: another case is called {case.name!r}")
                for tool in case.tools:
                    if tool not in TOOLS:
                        raise SystemExit(f"{item.nodeid}: tests/field/tools.py lacks {tool!r}")


def cases() -> list[Case]:
    """Of all tests, each once, by kind."""
    collector = _Collector()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        options = ["--collect-only", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
        code = pytest.main([*options, str(ROOT / "tests/field")], plugins=[collector])
    if code != pytest.ExitCode.OK:
        errors = said.getvalue().partition("= ERRORS =")[2]
        raise SystemExit(f"the tests cannot be collected:\n{errors or said.getvalue()}")
    return sorted(collector.cases.values(), key=lambda case: case.kind)


def page(cases: Sequence[Case], versions: Mapping[str, str]) -> str:
    lines = []
    for group in GROUPS:
        rows = [row for tool in TOOLS.values() if tool.group == group
                for row in _tried(tool, cases, versions)]  # fmt: skip
        if rows:
            lines += [f"## {group}", "", *_table(_PROGRAMS, rows), ""]
    for kind, title in KINDS.items():
        found = [case for case in cases if case.kind == kind]
        if found:
            rows = [(c.name, c.outcome, c.source, ", ".join(c.tools)) for c in found]
            lines += [f"## {title}", "", *_table(_CASES, rows), ""]
    named = _named(cases)
    imitated = sum(bool(TOOLS[name].imitated) for name in named)
    count = f"{len(cases)} cases, {len(named)} programs, {imitated} of them imitated.\n\n"
    return _HEAD + count + "\n".join(lines[:-1]) + "\n"


def _named(cases: Sequence[Case]) -> set[str]:
    return {tool for case in cases for tool in case.tools}


def _tried(
    tool: Tool, cases: Sequence[Case], versions: Mapping[str, str]
) -> Iterable[tuple[str, ...]]:
    first = (tool.name, versions.get(tool.name, ""))
    for case in cases:
        if tool.name in case.tools:
            yield (*first, case.name, case.outcome)
            first = ("", "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def versions_in(page: str) -> dict[str, str]:
    """Those that a page shows."""
    cells = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {line[0][2:]: line[1] for line in cells if len(line) == 4 and line[0][2:] in TOOLS}


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        current = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
        if current != page(cases(), versions_in(current)):
            print(f"{TARGET.relative_to(ROOT)} is stale: run build/compatibility", file=sys.stderr)
            return 1
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    found = cases()
    print(page(found, {name: version(TOOLS[name]) for name in sorted(_named(found))}), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
