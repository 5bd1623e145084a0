"""What a removed container leaves on the tmpfs of the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.ids import new_id
from claraedge.runner.workarounds import remains


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of exit codes, with one of a container in it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "libpod/tmp/exits"
    folder.mkdir(parents=True)
    return folder


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_the_exit_code_of_a_container_goes_with_it_and_no_other(left: Path) -> None:
    one, other = new_id(), new_id()
    (left / one).write_text("0")
    (left / other).write_text("0")
    await remains.clear(one)
    assert names(left) == [other]


async def test_what_cannot_be_removed_is_logged_and_stops_nobody(
    left: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(remains, "remove", refuse)
    container = new_id()
    (left / container).mkdir()
    await remains.clear(container)
    assert [record.getMessage() for record in caplog.records] == [
        f"left behind: {left / container}"
    ]
