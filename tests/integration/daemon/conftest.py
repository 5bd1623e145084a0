"""A daemon from source on real Podman, with the command line as its only client."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages

IMAGE = "localhost/ce-test/busybox"
PLAIN_USER = "localhost/ce-test/unprivileged"


def program() -> Path:
    """The command `claraedge` of the interpreter that runs the tests."""
    sibling = Path(sys.executable).with_name("claraedge")
    found = sibling if sibling.exists() else shutil.which("claraedge")
    assert found, "claraedge is not installed: pip install -e ."
    return Path(found)


@pytest.fixture
def idle_site(tmp_path: Path, runtime_folder: Path) -> Iterator[Site]:
    """A place for a daemon that is not started yet."""
    # A socket's path is at most 107 bytes: not below pytest's own folders.
    runtime = Path(tempfile.mkdtemp(prefix="d-", dir=runtime_folder), "run")
    site = Site(program=program(), folder=tmp_path, runtime=runtime)
    site.temporary.mkdir()
    site.configure("[inbox]\nsettle_seconds = 0.5\n[engine]\ngrace_seconds = 3\n")
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture
def site(idle_site: Site, archives: TestImages) -> Site:
    """A daemon that serves, with both images of the tests."""
    idle_site.start()
    archives.load(idle_site, f"{IMAGE}:1")
    archives.load(idle_site, f"{PLAIN_USER}:1", user="1000:1000")
    return idle_site
