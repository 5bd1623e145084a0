"""SQL by name: each file of `queries/` contains statements that begin with `-- name: NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "queries"

_MARK = "-- name:"


def load_queries(folder: Path = FOLDER) -> Mapping[str, str]:
    """Returns the statements of every `*.sql` file by name. Raises KeyError for duplicate names."""
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
