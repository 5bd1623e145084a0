"""What a call costs, in terms that hold on a slow and on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def cost(work: Callable[[], T]) -> tuple[T, float]:
    """Returns what a function returns, and its processor time over that of 100,000 additions."""
    before = _additions()
    began = time.thread_time()
    value = work()
    spent = time.thread_time() - began
    return value, spent / max(before, _additions())


def growth(work: Callable[[int], object], few: int) -> float:
    """Returns the processor time of a function of 10 x `few` over that of it with `few`.

    The least of three each: other load on the machine only adds to it.
    """
    little, much = (min(_spent(work, count) for _ in range(3)) for count in (few, 10 * few))
    return much / little


def _spent(work: Callable[[int], object], count: int) -> float:
    began = time.thread_time()
    work(count)
    return time.thread_time() - began


def _additions() -> float:
    total = 0
    began = time.thread_time()
    for number in range(100_000):
        total += number
    return time.thread_time() - began
