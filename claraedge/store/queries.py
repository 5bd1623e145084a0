"""SQL by name: each file of `queries/` holds statements that begin with `-- name: NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "queries"

_MARK = "-- name:"


def load_queries(folder: Path = FOLDER) -> Mapping[str, str]:
    """Statements by name, of every `*.sql` file. A name that stands twice is a KeyError."""
    queries: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        name: str | None = None
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(_MARK):
                name = line.removeprefix(_MARK).strip()
                if name in queries:
                    raise KeyError(f"{path.name}: the query {name!r} stands twice")
                queries[name] = ""
            elif name is not None:
                queries[name] += line + "\n"
    return queries
