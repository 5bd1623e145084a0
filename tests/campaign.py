"""What the environment asks of the suite, each with 1: CLARAEDGE_CAMPAIGN, that campaigns run in
their full form; CLARAEDGE_MACHINE, that whole machines are booted; CLARAEDGE_REQUIRE_PODMAN, that
no test which needs Podman or the binaries is skipped.

They get other names here: a daemon that a test starts takes every CLARAEDGE_* variable for a
setting. The new ones are what the processes find that run tests side by side.
"""

from __future__ import annotations

import os


def _asked(name: str) -> bool:
    own = f"TESTS_{name}"
    given = os.environ.pop(f"CLARAEDGE_{name}", None)
    if given is not None:
        os.environ[own] = given
    return os.environ.get(own) == "1"


MACHINE = _asked("MACHINE")
CAMPAIGN = _asked("CAMPAIGN")
REQUIRE_PODMAN = _asked("REQUIRE_PODMAN")
