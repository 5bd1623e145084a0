"""What is left of a folder that could not be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claraedge.delivery.publish import publish
from claraedge.errors import DamagedFileError
from claraedge.failpoints import hooked
from claraedge.fs.trees import Building


@pytest.mark.parametrize("error", [DamagedFileError("a file is gone"), OSError(5, "I/O error")])
def test_nothing_is_left_of_a_folder_that_cannot_be_made(tmp_path: Path, error: Exception) -> None:
    def fails(building: Building) -> None:
        building.write(b"part", b"1")
        raise error

    with pytest.raises(type(error)):
        publish(
            tmp_path, "ct/a", "id",
            marker="result.json", key="job_id", build=fails,
        )  # fmt: skip
    assert [path.name for path in tmp_path.rglob("*")] == ["ct"]


def closed(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    (folder / "kept").write_text("kept")
    return folder


def fill(building: Building) -> None:
    building.write(b"sub/file", b"1")
    building.write(b"result.json", b'{"job_id": "id"}')


@pytest.mark.parametrize("moment", ["publish: building", "publish: written", "publish: built"])
def test_what_is_half_made_can_be_swapped_and_leads_nowhere(tmp_path: Path, moment: str) -> None:
    """Finding 8 of the review of b474c6d: who may empty the outbox redirected what was written."""
    outside, root = closed(tmp_path / "closed"), tmp_path / "outbox"
    root.mkdir(mode=0o770)

    def swap(name: str) -> None:
        if name == moment:
            (root / ".tmp-id").rename(root / "aside")
            (root / ".tmp-id").mkdir()
            (root / ".tmp-id" / "sub").symlink_to(outside)

    with hooked(swap), pytest.raises(OSError, match=r"was replaced while it was made|File exists"):
        publish(
            root, "ct/a", "id",
            marker="result.json", key="job_id", build=fill,
        )  # fmt: skip
    assert [path.name for path in outside.iterdir()] == ["kept"]


def test_a_link_in_place_of_a_folder_of_results_is_not_followed(tmp_path: Path) -> None:
    outside, root = closed(tmp_path / "closed"), tmp_path / "outbox"
    root.mkdir(mode=0o770)
    (root / "ct").symlink_to(outside)
    with pytest.raises(NotADirectoryError, match="is a link"):
        publish(
            root, "ct/a", "id",
            marker="result.json", key="job_id", build=fill,
        )  # fmt: skip
    assert [path.name for path in outside.iterdir()] == ["kept"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "huge"])
def test_whatever_passes_for_a_marker_is_read_as_none(tmp_path: Path, kind: str) -> None:
    """A pipe kept the thread of a delivery waiting for ever."""
    taken = tmp_path / "ct" / "a"
    taken.mkdir(parents=True)
    marker = taken / "result.json"
    match kind:
        case "pipe":
            os.mkfifo(marker)
        case "link":
            (tmp_path / "elsewhere").write_text('{"job_id": "id"}')
            marker.symlink_to(tmp_path / "elsewhere")
        case "folder":
            marker.mkdir()
        case "huge":
            marker.touch()
            os.truncate(marker, 1 << 40)
    made = publish(
        tmp_path, "ct/a", "id",
        marker="result.json", key="job_id", build=fill,
    ).path  # fmt: skip
    assert made != taken
    assert (made / "sub" / "file").read_bytes() == b"1"
