"""What is left of a folder that could not be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.delivery.publish import publish
from claraedge.errors import DamagedFileError


@pytest.mark.parametrize("error", [DamagedFileError("a file is gone"), OSError(5, "I/O error")])
def test_nothing_is_left_of_a_folder_that_cannot_be_made(tmp_path: Path, error: Exception) -> None:
    def fails(building: Path) -> None:
        (building / "part").write_bytes(b"1")
        raise error

    with pytest.raises(type(error)):
        publish(
            tmp_path, "ct/a", "id",
            marker="result.json", key="job_id", build=fails, failpoint=lambda _: None,
        )  # fmt: skip
    assert [path.name for path in tmp_path.rglob("*")] == ["ct"]
