"""Fixtures: the disk and the site of one test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powercut import volatile_disk
from tests.powercut.campaign import site
from tests.powercut.site import Site
from tests.powercut.volatile_disk import VolatileDisk


@pytest.fixture(autouse=True)
def _can_be() -> None:
    if (lacks := volatile_disk.why_there_is_none()) is not None:
        pytest.fail(lacks)


@pytest.fixture
def disk() -> Iterator[VolatileDisk]:
    """Mounts an empty disk."""
    with tempfile.TemporaryDirectory(prefix="cut-", dir="/var/tmp") as folder:  # short, for sockets
        made = VolatileDisk(Path(folder))
        made.create()
        yield made
        made.end()


@pytest.fixture
def place() -> Iterator[Site]:
    with site() as made:
        yield made
