"""A class name means one class in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def repeated(package: Path) -> dict[str, list[str]]:
    """Returns each name that several modules define as a class, with those modules.

    Generated modules are left out, and so are classes inside of classes and functions.
    """
    found = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        if "_pb2" in path.name:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(path.relative_to(package)))
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def test_each_class_name_is_defined_once() -> None:
    assert repeated(ROOT / "claraedge") == {}


def test_a_second_class_of_the_same_name_is_found(tmp_path: Path) -> None:
    for name in ("jobs.py", "client.py", "jobs_pb2.py"):
        (tmp_path / name).write_text("class Job:\n    class Inner: ...\n\n\nclass _Inner: ...\n")
    (tmp_path / "api.py").write_text("def inner() -> None:\n    class Job: ...\n")
    assert repeated(tmp_path) == {
        "Job": ["client.py", "jobs.py"],
        "_Inner": ["client.py", "jobs.py"],
    }
