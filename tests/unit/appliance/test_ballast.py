"""The ballast: it reserves blocks, frees them once, and is whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from claraedge.appliance.ballast import SIZE, Ballast


def test_it_reserves_room_on_the_disk_and_frees_it_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path)
    assert not ballast.give_up()
    assert ballast.make()
    assert ballast.path.stat().st_blocks * 512 >= SIZE == 16 * 1024 * 1024
    assert ballast.path.stat().st_mode & 0o777 == 0o600
    assert ballast.is_there()
    assert ballast.give_up()
    assert not ballast.is_there()
    assert not ballast.give_up()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_while_it_is_made_has_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert not Ballast(tmp_path).make()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "ballast.new").write_bytes(b"a crash left it")
    assert Ballast(tmp_path).make()
    assert [path.name for path in tmp_path.iterdir()] == ["ballast"]


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    assert not Ballast(tmp_path / "gone").make()
    assert not Ballast(tmp_path / "gone").give_up()
