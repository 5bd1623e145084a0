"""The index of a bag: what it says, and that no content of a file does harm."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import tracemalloc
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


def _with_field(name: bytes, value: bytes) -> bytes:
    at = _BAG.index(name + b"=") + len(name) + 1
    return _BAG[:at] + value + _BAG[at + len(value) :]


@pytest.mark.parametrize("at", [1, len(_BAG) + 1, 2**45, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_an_index_at_an_impossible_place_is_no_bag(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.bag"
    path.write_bytes(_with_field(b"index_pos", struct.pack("<Q", at)))
    with pytest.raises(NoBagError):
        read_index(path)


@given(
    st.integers(0, 2**64 - 1) | st.integers(0, len(_BAG)),
    st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3),
    st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3),
)
def test_any_header_leads_to_a_value_or_to_the_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, connections: int, chunks: int
) -> None:
    content = _BAG
    for name, value in (
        (b"index_pos", struct.pack("<Q", at)),
        (b"conn_count", struct.pack("<i", connections)),
        (b"chunk_count", struct.pack("<i", chunks)),
    ):
        start = content.index(name + b"=") + len(name) + 1
        content = content[:start] + value + content[start + len(value) :]
    path = tmp_path_factory.mktemp("bags") / "a.bag"
    path.write_bytes(content)
    with contextlib.suppress(NoBagError):
        assert read_index(path).messages >= 0


def _sparse_bag(path: Path, *, header: bytes, data: int, records: int) -> None:
    """Writes a bag whose index has so many chunks of `data` bytes each, which take no disk."""
    begin = _with_field(b"chunk_count", struct.pack("<i", records))
    at = begin.index(b"\x06") - len(b"....op=") - 4
    with path.open("wb") as file:
        file.write(begin[:at])
        for _ in range(records):
            file.write(struct.pack("<I", len(header)) + header + struct.pack("<I", data))
            file.seek(data, os.SEEK_CUR)
        file.truncate()


def test_a_bag_cannot_make_its_reader_read_for_long_or_use_much_memory(tmp_path: Path) -> None:
    header = b"".join(
        struct.pack("<I", len(field)) + field
        for field in (b"op=\x06", b"start_time=" + bytes(8), b"end_time=" + bytes(8))
    )
    path = tmp_path / "a.bag"
    _sparse_bag(path, header=header, data=4096, records=2)
    assert read_index(path).messages == 0
    _sparse_bag(path, header=header, data=2**24, records=1000)  # 16 GB in holes
    with pytest.raises(NoBagError, match="index is too large"):
        read_index(path)
    tracemalloc.start()
    try:
        _sparse_bag(path, header=header, data=2**24, records=1)
        assert read_index(path).messages == 0
        _sparse_bag(path, header=b"\x02\x00\x00\x00a=" * 2**20, data=0, records=1)
        with pytest.raises(NoBagError, match="record of its index is too large"):
            read_index(path)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_what_a_disk_has_lost_of_a_bag_makes_it_no_whole_bag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bag"
    path.write_bytes(_BAG)

    def lost(_file: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("claraedge.bags.index._read", lost)
    number = errno.EIO
    with pytest.raises(NoBagError, match="Input/output error"):
        read_index(path)
    number = errno.ENOMEM  # it passes
    with pytest.raises(OSError, match="memory"):
        read_index(path)
