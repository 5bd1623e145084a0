"""What modules of field tests share: daemons, folders, a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.field.servers import Server, sshd
from tests.field.site import Drop, Drops, drops
from tests.field.state_site import StateSite, fill, site


@pytest.fixture(scope="module")
def all_drops() -> Iterator[Drops]:
    """The daemon of a module of transfer tests; each test has folders of its own."""
    with drops() as served:
        yield served


@pytest.fixture
def drop(all_drops: Drops) -> Iterator[Drop]:
    """A folder whose entries are items."""
    found = all_drops.next("entry")
    yield found
    found.is_explained()


@pytest.fixture
def patient(all_drops: Drops) -> Drop:
    """A folder whose entries may be quiet for long before they are taken."""
    return all_drops.next("patient")


@pytest.fixture
def studies(all_drops: Drops) -> Iterator[Drop]:
    """A folder whose DICOM files become a job for each study."""
    found = all_drops.next("study")
    yield found
    found.is_explained()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def sound() -> Iterator[StateSite]:
    """A state folder with jobs, undamaged; its daemon is stopped."""
    with site() as made:
        fill(made)
        yield made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of an inbox; it does not exist yet."""
    return tmp_path / "state"
