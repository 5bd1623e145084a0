from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.runner.memory import MemoryRunner
from claraedge.store.database import Database


@pytest.fixture
def runner() -> MemoryRunner:
    return MemoryRunner()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "claraedge.db") as database:
        yield database
