"""One daemon for each module of transfer tests, and a folder of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.field.site import Drop, Drops, drops


@pytest.fixture(scope="module")
def all_drops() -> Iterator[Drops]:
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
