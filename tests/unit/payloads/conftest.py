from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.clock import SystemClock
from claraedge.ids import new_id
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.store.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "claraedge.db") as database:
        yield database


@pytest.fixture
async def payloads(tmp_path: Path, database: Database) -> Payloads:
    payloads = Payloads(database, PayloadTree(tmp_path), SystemClock(), new_id)
    await payloads.prepare()
    return payloads
