"""Trees of any depth and path length are walked, measured, synced and removed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from claraedge.fs import files, walking
from claraedge.fs.removal import remove
from claraedge.fs.walking import MAX_DEPTH, descend, walk
from tests.rig.deep import chain


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(("name", "levels"), [("d", 5000), ("n" * 255, 60), ("n" * 255, 1500)])
def test_depth_and_length_of_paths_are_no_matter(tmp_path: Path, name: str, levels: int) -> None:
    top, before = chain(tmp_path / "top", name, levels), descriptors()
    assert walking.size(top) == levels
    assert walking.size_alone(top) == walking.allocated(top)
    assert not files.has_foreign(top)
    files.finish_tree(top, 0o755)
    files.sync_tree(top)
    met = [entry.path.count(b"/") for entry in walk(top)]
    assert max(met) <= MAX_DEPTH
    remove(top)
    assert list(tmp_path.iterdir()) == []
    assert descriptors() <= before  # those of other tests may close meanwhile


def test_each_folder_is_met_before_and_after_its_content(tmp_path: Path) -> None:
    (tmp_path / "r" / "a" / "b").mkdir(parents=True)
    (tmp_path / "r" / "c").write_text("1")
    met = [(p.name, p.depth, p.left) for p in descend(tmp_path / "r")]
    assert met == [
        (b"r", 0, False),
        (b"a", 1, False),
        (b"b", 2, False),
        (b"b", 2, True),
        (b"a", 1, True),
        (b"c", 1, False),
        (b"r", 0, True),
    ]


def test_a_walk_opens_few_folders(tmp_path: Path) -> None:
    top, before = chain(tmp_path / "top", "d", 300), descriptors()
    assert max(descriptors() for _ in descend(top)) - before < 80


def test_a_folder_that_is_moved_during_a_walk_ends_it(tmp_path: Path) -> None:
    """The way back up leads to where the folder is now: that is not where the walk came from."""
    top = chain(tmp_path / "top", "d", 200)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("1")
    places = descend(top)
    for place in places:
        if place.depth == 150 and place.is_folder:
            break
    (top / "d/d/d").rename(elsewhere / "d")
    with pytest.raises(OSError, match="moved while it was read") as raised:
        list(places)
    assert raised.value.errno == errno.EAGAIN


@pytest.mark.parametrize("act", [remove, walking.size, files.sync_tree, files.has_foreign])
def test_links_lead_nowhere(tmp_path: Path, act: Callable[[Path], object]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("1" * 10_000)
    top = tmp_path / "top"
    (top / "a").mkdir(parents=True)
    (top / "a" / "link").symlink_to(outside)
    (top / "a" / "file").symlink_to(outside / "kept")
    os.mkfifo(top / "a" / "pipe")
    found = act(top)
    assert found in (None, False) or found < 1000
    assert (outside / "kept").read_text() == "1" * 10_000
    assert (outside / "kept").stat().st_nlink == 1
