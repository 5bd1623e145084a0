"""What a call costs, in terms that hold on a slow and on a busy machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def cost(work: Callable[[], T]) -> tuple[T, int]:
    """Returns what a function returns, and its steps: lines of Python, and calls into C.

    Those of its own thread count. A count is the same on each machine and under each load. What
    one call into C does counts as one step: bound its memory as well where it can be large.
    """
    steps = 0

    def line(_frame: FrameType, event: str, _argument: object) -> object:
        nonlocal steps
        steps += event == "line"
        return line

    def call(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal steps
        steps += event == "c_call"

    traced, profiled = sys.gettrace(), sys.getprofile()
    sys.settrace(line)
    sys.setprofile(call)
    try:
        value = work()
    finally:
        sys.setprofile(profiled)
        sys.settrace(traced)
    return value, steps


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
