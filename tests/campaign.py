"""Whether campaigns run in their full form: CLARAEDGE_CAMPAIGN=1; and whether whole machines are
booted: CLARAEDGE_MACHINE=1.

Taken out of the environment, like CLARAEDGE_REQUIRE_PODMAN: a daemon that a test starts takes every
CLARAEDGE_* variable for a setting.
"""

from __future__ import annotations

import os

MACHINE = os.environ.pop("CLARAEDGE_MACHINE", "") == "1"
CAMPAIGN = os.environ.pop("CLARAEDGE_CAMPAIGN", "") == "1"
