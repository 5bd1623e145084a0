"""Reads the environment variables that control the suite.

CLARAEDGE_CAMPAIGN=1: campaigns run in their long form. CLARAEDGE_MACHINE=1: whole machines are
booted. CLARAEDGE_REQUIRE_PODMAN=1: a test that needs Podman or the binaries must not be skipped.
CLARAEDGE_SCREENSHOTS=FOLDER: what tests see in a browser is kept there.

They are renamed here, because a daemon that a test starts reads every CLARAEDGE_* variable as a
setting. Processes that run tests in parallel read the new names.
"""

from __future__ import annotations

import os


def _given(name: str) -> str:
    own = f"TESTS_{name}"
    given = os.environ.pop(f"CLARAEDGE_{name}", None)
    if given is not None:
        os.environ[own] = given
    return os.environ.get(own, "")


MACHINE = _given("MACHINE") == "1"
CAMPAIGN = _given("CAMPAIGN") == "1"
REQUIRE_PODMAN = _given("REQUIRE_PODMAN") == "1"
SCREENSHOTS = _given("SCREENSHOTS")
