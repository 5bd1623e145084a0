from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of an inbox; it does not exist yet."""
    return tmp_path / "state"
