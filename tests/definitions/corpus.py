"""The right definitions: `NAME.yaml`, or a folder of files of which `pipeline.yaml` is the root.

`NAME.json` next to it has the result: `pipeline` as the snapshot writes it (defaults left out),
the warnings as `CODE:LINE`, in a set as `CODE:FILE:LINE`, and if there are any the `arguments` and
the `job` that it is loaded with, finally.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from claraedge.pipelines.checks.load import Loaded, load
from claraedge.pipelines.model import DefinitionFile

RIGHT = Path(__file__).parent / "right"
NAMES = sorted(path.stem for path in RIGHT.glob("*.json"))
ROOT = "pipeline.yaml"


def files(name: str) -> list[DefinitionFile]:
    """A definition, its root first; a set without `pipeline.yaml` in the order of its names."""
    folder = RIGHT / name
    if not folder.is_dir():
        path = RIGHT / f"{name}.yaml"
        return [DefinitionFile(path=path.name, content=path.read_text())]
    paths = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    paths.sort(key=lambda path: path != ROOT)
    return [DefinitionFile(path=p, content=(folder / p).read_text()) for p in paths]


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RIGHT / f"{name}.json").read_text())
    return found


def loaded(name: str) -> Loaded:
    how = expected(name)
    final = "arguments" in how or "job" in how
    return load(files(name), how.get("arguments", {}), job=how.get("job"), final=final)
