"""A small disk for tests that fill one: a tmpfs that build/provision mounts as root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

#: Where it is; more than 48 MiB, and nobody else's meanwhile.
PLACE = Path("/run/claraedge-test-disk")


def small_disk() -> Path:
    """The folder; skips the test where there is none."""
    if not os.path.ismount(PLACE) or not os.access(PLACE, os.W_OK):
        pytest.skip(f"no small disk at {PLACE} (started as root, build/test mounts one)")
    seen = subprocess.run(
        ["podman", "unshare", "mountpoint", "-q", PLACE], check=False, cwd="/", timeout=60
    )
    if seen.returncode != 0:
        pytest.skip(
            f"Podman does not see {PLACE}, which was mounted after its first start;"
            " `podman system migrate` as the user of the tests lets it look anew"
        )
    return PLACE
