"""Named points in the code at which a test can end the process, raise an error or wait."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

_hook: Callable[[str], object] | None = None


def reach(point: str) -> None:
    """Calls the hook that a test has installed, with the name of the point; else does nothing.

    Raises what the hook raises.
    """
    hook = _hook  # read once: another thread may remove it meanwhile
    if hook is not None:
        hook(point)


@contextlib.contextmanager
def hooked(hook: Callable[[str], object]) -> Iterator[None]:
    """Installs a hook for all threads of the process, and at the end the one from before again.

    For tests: no setting and no environment variable installs one.
    """
    global _hook
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before
