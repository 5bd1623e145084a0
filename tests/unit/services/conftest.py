"""A device with services, over a runner in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from service_device import ServiceDevice

from claraedge.store.database import Database


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[ServiceDevice]:
    async with Database(tmp_path / "claraedge.db") as database:
        made = ServiceDevice(tmp_path, database)
        await made.models.prepare()
        yield made
