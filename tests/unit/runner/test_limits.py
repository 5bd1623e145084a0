"""Which limits are enforced is said once in the journal, and whenever the status is asked for."""

from __future__ import annotations

import logging

import pytest

from claraedge.runner.limits import Enforcement, enforced, warning
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Limit

ALL = frozenset(Limit)
BOTH = frozenset({Limit.MEMORY, Limit.PIDS})


@pytest.mark.parametrize(
    ("version", "controllers", "found"),
    [
        ("v2", ["cpu", "io", "memory", "pids"], ALL),
        ("v2", ["memory", "pids"], BOTH),
        ("v2", ["pids"], {Limit.PIDS}),
        ("v2", ["memory"], {Limit.MEMORY}),
        ("v2", [], set()),
        # With version 1, and where both are mounted, rootless Podman enforces nothing.
        ("v1", [], set()),
        ("v1", ["memory", "pids"], set()),
        ("", ["memory", "pids"], set()),
    ],
)
def test_what_a_machine_enforces(version: str, controllers: list[str], found: set[Limit]) -> None:
    assert enforced(version, controllers) == found


def test_the_warning_names_what_is_not_enforced_and_how_to_get_it() -> None:
    assert warning(BOTH) is None
    both, memory = warning(()), warning({Limit.PIDS})
    assert both is not None
    assert memory is not None
    assert both.startswith("limits of memory and pids are not enforced")
    assert "Delegate=cpu memory pids" in both
    assert "cgroup v2" in both
    assert memory.startswith("limits of memory are not enforced")
    assert "pids" not in memory


async def test_it_is_logged_once_and_stays_in_the_status(caplog: pytest.LogCaptureFixture) -> None:
    runner = MemoryRunner()
    runner.enforced = frozenset({Limit.MEMORY})
    enforcement = Enforcement(runner)
    runner.available = False
    assert list(await enforcement.warnings()) == []  # Podman is not asked for ever: it is once up
    runner.available = True
    with caplog.at_level(logging.WARNING):
        first, second = await enforcement.warnings(), await enforcement.warnings()
    assert first == second == (warning({Limit.MEMORY}),)
    assert [record.getMessage() for record in caplog.records] == [first[0]]


async def test_nothing_is_said_where_all_is_enforced(caplog: pytest.LogCaptureFixture) -> None:
    assert list(await Enforcement(MemoryRunner()).warnings()) == []
    assert caplog.records == []
