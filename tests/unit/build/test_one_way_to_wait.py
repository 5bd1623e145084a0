"""Tests wait for a condition by `tests/rig/waiting.py`, which has a deadline and says for what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: Functions whose loop has a pause of its own, each with the reason.
PACED = {
    "tests/contract/clients/rapyuta_driver.py until_stopped": "may import the SDK only",
    "tests/contract/clients/rosbag_driver.py until": "may import the SDK only",
    "tests/contract/flows.py end": "polls as often as the samples of the original client",
    "tests/field/tools.py interrupt": "runs where only the standard library is installed",
    "tests/integration/runner/test_podman_runner.py pulse": "measures how long the loop is blocked",
    "tests/powercut/site.py until": "needs some calm checks in a row; raises StuckError",
    "tests/rig/waiting.py eventually": "the one way in the event loop",
    "tests/rig/waiting.py until": "the one way in a thread",
    "tests/unit/cli/fake_daemon.py Watch": "sends events without an end",
    "tests/unit/cli/test_cli_utilization.py Utilization": "sends readings without an end",
}


def polling(node: ast.AST, function: str = "") -> Iterator[tuple[str, int]]:
    """Yields the function and the line of each `while` loop that sleeps."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        function = node.name
    if isinstance(node, ast.While) and any(map(sleeps, ast.walk(node))):
        yield function, node.lineno
    for child in ast.iter_child_nodes(node):
        yield from polling(child, function)


def sleeps(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "sleep"


def test_no_test_polls_by_a_loop_of_its_own() -> None:
    found = {
        f"{path.relative_to(ROOT)} {function}": line
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for function, line in polling(ast.parse(path.read_text(encoding="utf-8")))
    }
    others = [f"{place}, line {line}" for place, line in found.items() if place not in PACED]
    assert others == [], "use eventually() or until() of tests/rig/waiting.py"
    assert PACED.keys() <= found.keys(), "there is no such loop any more"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("while not path.exists():\n    time.sleep(0.1)", 1),
        ("async def wait():\n    while True:\n        if ready: break\n        await sleep(1)", 1),
        ("while left:\n    left = left[send(left):]", 0),
        ("for _ in range(3):\n    time.sleep(0.1)", 0),
    ],
)
def test_what_is_refused_is_found(text: str, count: int) -> None:
    assert len(list(polling(ast.parse(text)))) == count
