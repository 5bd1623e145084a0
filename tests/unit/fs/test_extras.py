"""What a file system does not support is tried, logged once, and never a failure."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from claraedge.fs import extras
from claraedge.fs.trusted import opened


@pytest.fixture(autouse=True)
def _nothing_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_logged", set())


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, refused)


@pytest.mark.parametrize("code", sorted(extras.REFUSALS))
def test_each_refusal_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    for name in ("chmod", "utime", "symlink", "mkfifo"):
        refuse(monkeypatch, name, code)
    file = tmp_path / "file"
    file.write_text("x")
    with caplog.at_level(logging.WARNING), file.open("rb") as open_file:
        for _ in range(3):
            extras.set_mode(file, 0o640)
            extras.set_mode(open_file.fileno(), 0o640)
            extras.set_times(open_file.fileno(), file.stat())
            assert not extras.make_link(tmp_path / "link", "file")
            assert not extras.make_pipe(tmp_path / "pipe")
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 4
    assert all(os.strerror(code) in text and str(tmp_path) in text for text in logged)


def test_a_refusal_names_the_folder_that_people_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("chmod", "symlink"):
        refuse(monkeypatch, name, errno.EPERM)
    with caplog.at_level(logging.WARNING), opened(tmp_path) as folder:
        (folder / "file").write_text("x")
        extras.set_mode(folder / "file", 0o600)
        extras.make_link(folder / "link", "file")
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2
    assert f"of {tmp_path}/file refuses modes" in logged[0]
    assert f"of {tmp_path} refuses symbolic links" in logged[1]


def test_other_errors_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "chmod", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        extras.set_mode(tmp_path, 0o500)


def test_modes_times_and_links_are_set_where_they_can_be(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("x")
    other.write_text("y")
    os.utime(other, ns=(1_000_000_001, 2_000_000_002))
    with file.open("rb") as open_file:
        extras.set_mode(open_file.fileno(), 0o640)
        extras.set_times(open_file.fileno(), other.stat())
    assert (file.stat().st_mode & 0o777, file.stat().st_mtime_ns) == (0o640, 2_000_000_002)
    assert extras.make_link(tmp_path / "link", "file")
    assert (tmp_path / "link").read_text() == "x"
