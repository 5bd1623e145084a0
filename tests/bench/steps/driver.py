"""Runs ten steps for each line of stdin, and prints the seconds: a line is a command in JSON.

Programs of other engines import it from their own environments, with the standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence

STEPS = 10

_ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # engines print what they do


def drive(run: Callable[[Sequence[str]], None]) -> None:
    """Calls `run` with each command; each of its ten steps has to run that command once."""
    for line in sys.stdin:
        begin = time.perf_counter()
        run(json.loads(line))
        print(time.perf_counter() - begin, file=_ANSWERS, flush=True)
