"""Makes docs/errors.md of the classes in claraedge/errors/ and their docstrings.

    python build/lib/errors_table.py [--check]

A docstring says first when the error comes, then, after `To do:`, what helps. Needs no dependency.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "errors.md"

_MARK = "To do:"
_HEAD = """\
# Errors

Made by `build/errors-table` from `claraedge/errors/`; do not edit.

The services of the platform (`nvidia.clara.platform`) answer gRPC status OK and the code in the
header of their first message, with messages that say what happened, to which id, and what to do.
Clients of the original check the sign of the code alone. A call outside of that frame (a request
that is no protobuf message of its method, a call that lasts too long, a method that is not served)
and the services of claraedge itself (`claraedge.v1`) answer the gRPC status, and the error's name
in the trailing metadata `claraedge-error`. Over HTTP every failure has the status in the column
"HTTP", or one that says more about the request itself (403, 404, 405, 413, 415, 421, 503, 505), and
its name in the header `Claraedge-Error`. The command line prints the messages and exits with the
number in the column "exit". Names never change.

Codes down to -0x2100 are those that Clara Deploy 0.8.1 documents. It leaves the others free:
payloads from -0x3000, models from -0x4000, everything else from -0x5000.

"""
_COLUMNS = ("name", "code", "decimal", "gRPC status", "HTTP", "exit", "when", "to do")


def load() -> ModuleType:
    """The errors of this tree. They import no other part of the package."""
    sys.path.insert(0, str(ROOT))
    return importlib.import_module("claraedge.errors")


def classes(module: ModuleType) -> Iterator[type]:
    """Every error, by falling code: pipelines, jobs, payloads, models, the rest."""
    found = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, module.ClaraedgeError)
    ]
    yield from sorted(found, key=lambda kind: -kind.code)


def described(kind: type) -> tuple[str, str]:
    """(when, to do) of an error, each as one line. Raises ValueError where one is missing."""
    when, mark, todo = (kind.__doc__ or "").partition(_MARK)
    parts = " ".join(when.split()), " ".join(todo.split())
    if not mark or not all(parts):
        raise ValueError(f"{kind.__name__}: the docstring lacks `{_MARK}`, or what is before it")
    return parts


def table(module: ModuleType) -> str:
    """The whole page."""
    lines = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
    for kind in classes(module):
        when, todo = described(kind)
        code = f"-0x{-kind.code:04X}"
        lines.append(
            _row(
                [
                    f"`{kind.name}`",
                    code,
                    str(kind.code),
                    kind.status,
                    str(module.http_status_of(kind)),
                    str(kind.exit_code),
                    when,
                    todo,
                ]
            )
        )
    return _HEAD + "\n".join(lines) + "\n"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(arguments: list[str]) -> int:
    page = table(load())
    if arguments == ["--check"]:
        current = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
        if current != page:
            print(f"{TARGET.relative_to(ROOT)} is stale: run build/errors-table", file=sys.stderr)
            return 1
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
