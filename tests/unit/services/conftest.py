"""A device with services, over a runner in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from beside import Beside

from claraedge.store.database import Database


@pytest.fixture
async def beside(tmp_path: Path) -> AsyncIterator[Beside]:
    async with Database(tmp_path / "claraedge.db") as database:
        made = Beside(tmp_path, database)
        await made.models.prepare()
        yield made
