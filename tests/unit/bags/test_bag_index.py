"""The index of a bag: what it says, and that no content of a file does harm."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.bags.index import BagIndex, NoBagError, read_index
from tests.rig.bag_files import bag_bytes

_BAG = bag_bytes((10, 20, 3), (5, 12, 4))


def test_a_whole_bag_has_times_and_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.bag"
    path.write_bytes(_BAG)
    assert read_index(path) == BagIndex(started=5.0, ended=20.5, messages=7)
    path.write_bytes(bag_bytes())
    assert read_index(path) == BagIndex(started=None, ended=None, messages=0)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", bag_bytes(whole=False), _BAG[:-1], _BAG[:30], _BAG.replace(b"\x06", b"\x05")],
)
def test_what_is_no_whole_bag_has_a_reason(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.bag"
    path.write_bytes(content)
    with pytest.raises(NoBagError):
        read_index(path)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real.bag").write_bytes(_BAG)
    (tmp_path / "link.bag").symlink_to(tmp_path / "real.bag")
    with pytest.raises(OSError, match="symbolic"):
        read_index(tmp_path / "link.bag")
    os.mkfifo(tmp_path / "pipe.bag")
    with pytest.raises(NoBagError):
        read_index(tmp_path / "pipe.bag")


@given(st.integers(0, len(_BAG) - 1), st.binary(min_size=1, max_size=8))
def test_any_change_leads_to_a_value_or_to_the_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, change: bytes
) -> None:
    path = tmp_path_factory.mktemp("bags") / "a.bag"
    path.write_bytes(_BAG[:at] + change + _BAG[at + len(change) :])
    with contextlib.suppress(NoBagError):
        assert read_index(path).messages >= 0
