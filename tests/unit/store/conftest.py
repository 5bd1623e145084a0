from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.store.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a database; it does not exist yet."""
    return tmp_path / "claraedge.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with Database(path) as database:
        yield database
