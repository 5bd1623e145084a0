"""A state whose files are damaged is recognised, named, and left to be repaired."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.field.case import case
from tests.field.state_site import StateSite, fill, roots, site, spoil

PAGE = 4096


@pytest.fixture(scope="module")
def sound() -> Iterator[StateSite]:
    with site() as made:
        fill(made)
        yield made


def test_x(sound: StateSite) -> None:
    print(roots(sound.database), sound.database.stat())
    spoil(sound.database, roots(sound.database)["jobs"], bytes(PAGE))
    print(sound.refused())
    assert 0
