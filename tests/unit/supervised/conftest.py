"""A machine with containers that are kept running."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from site_of_supervised import SupervisedSite


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[SupervisedSite]:
    made = SupervisedSite(tmp_path)
    yield made
    await made.restart()
