"""Whatever a definition holds: it is loaded or refused, in little time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.campaign import CAMPAIGN
from tests.robustness import hostile_definitions, mutated_definitions

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
MUTATED = 10_000 if CAMPAIGN else 3_000
SEEDS = range(10) if CAMPAIGN else range(1)

SLOW = 3.0
"""How much slower than a developer's machine the one that tests may be."""
#: What the reader alone refuses, in seconds.
LAUGHS = 0.1
#: KiB beyond the text itself.
MOST_MEMORY = 64 << 10


def worker(module: object, *arguments: int) -> Any:
    """What a process of this module prints."""
    name = getattr(module, "__name__", "")
    done = subprocess.run(
        [sys.executable, "-m", name, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-20_000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_mutation_makes_it_raise_or_hang_or_grow(seed: int) -> None:
    figures = worker(mutated_definitions, seed, MUTATED)
    codes = figures.pop("codes")
    print(figures, len(codes), "codes")
    assert figures["count"] == MUTATED
    # The mutations reach the rules, and not only the parser.
    assert figures["loaded"] > MUTATED / 10
    assert len(codes) >= 45
    assert figures["growth"] < 32 << 10


@pytest.fixture(scope="module")
def costs() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = worker(hostile_definitions)
    for name, cost in found.items():
        print(f"{cost['seconds']:.3f} s, {cost['growth'] >> 10} MiB: {name}: {cost['codes']}")
    return found


@pytest.mark.parametrize("name", hostile_definitions.HOSTILE)
def test_what_is_made_to_cost_much_is_done_within_a_second(
    name: str, costs: dict[str, dict[str, Any]]
) -> None:
    cost = costs[name]
    assert cost["seconds"] < 1.0 * SLOW
    assert cost["growth"] < MOST_MEMORY
    assert cost["snapshot"] < 16 << 20


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a billion laughs", "too-many-values"),
        ("quadratic blow up", "too-many-values"),
        ("nested objects", "too-deep"),
        ("a mebibyte of brackets", "too-deep"),
        ("a mebibyte of braces", "key-not-text"),
        ("more than a mebibyte", "file-too-large"),
    ],
)
def test_a_bomb_is_refused_at_once(name: str, code: str, costs: dict[str, dict[str, Any]]) -> None:
    assert costs[name]["codes"] == [code]
    assert costs[name]["seconds"] < LAUGHS
