"""Reads the environment variables that control the suite; each is enabled by the value 1.

CLARAEDGE_CAMPAIGN: campaigns run in their long form. CLARAEDGE_MACHINE: whole machines are booted.
CLARAEDGE_REQUIRE_PODMAN: a test that needs Podman or the binaries must not be skipped.

They are renamed here, because a daemon that a test starts reads every CLARAEDGE_* variable as a
setting. Processes that run tests in parallel read the new names.
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
