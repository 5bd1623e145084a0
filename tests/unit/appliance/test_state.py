"""The state folder: made where it can be, and refused with what to do where it cannot."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import pytest

from claraedge.appliance.state import broken_disk, prepare_state, user_name
from claraedge.errors import StateFolderError
from claraedge.fs.mounts import Mount


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_missing_folder_is_made_for_this_user_and_its_group(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        prepare_state(tmp_path / "a" / "state")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "state").stat().st_mode & 0o027 == 0


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "claraedge.db").write_text("1")
    mode = tmp_path.stat().st_mode
    prepare_state(tmp_path)
    assert tmp_path.stat().st_mode == mode
    assert (tmp_path / "claraedge.db").read_text() == "1"


@pytest.mark.parametrize("below", ["", "state"])
def test_a_file_in_the_way_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("notes")
    with pytest.raises(StateFolderError, match="move it elsewhere, or choose another"):
        prepare_state(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "notes"


def test_the_folder_of_another_user_is_refused_with_both_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    owner = user_name(tmp_path.stat().st_uid)
    with pytest.raises(StateFolderError, match=f"belongs to user {owner}, and this is 4242"):
        prepare_state(tmp_path)


def test_a_place_where_nothing_can_be_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StateFolderError, match=r"cannot be made by user .*CLARAEDGE_STATE_DIR"):
        prepare_state(tmp_path / "state")


@pytest.mark.parametrize("number", [30, 28])
def test_a_disk_that_refuses_a_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StateFolderError, match=os.strerror(number)):
        prepare_state(tmp_path / "state")


def test_a_folder_without_write_bits_is_refused_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StateFolderError, match=r"chmod u\+rwx"):
        prepare_state(tmp_path)


def test_a_user_without_a_name_is_its_number() -> None:
    assert user_name(0) == "root"
    assert user_name(4_242_424) == "4242424"


@pytest.mark.parametrize("fstype", ["nfs4", "cifs", "smb3"])
def test_a_share_is_refused_with_its_server(tmp_path: Path, fstype: str) -> None:
    share = Mount(id=1, point=b"/srv", fstype=fstype, source="nas:/export")
    with pytest.raises(StateFolderError, match=rf"lies on a share \({fstype}, nas:/export\)"):
        prepare_state(tmp_path, mount_of=lambda _: share)


@pytest.mark.parametrize("fstype", ["ext4", "tmpfs", "virtiofs", "fuse.mergerfs"])
def test_what_is_no_share_of_the_network_is_accepted(tmp_path: Path, fstype: str) -> None:
    mount = Mount(id=1, point=b"/srv", fstype=fstype, source="x")
    prepare_state(tmp_path, mount_of=lambda _: mount)


def test_a_system_that_does_not_report_its_mounts_is_no_obstacle(tmp_path: Path) -> None:
    def fails(_path: Path) -> Mount | None:
        raise PermissionError

    prepare_state(tmp_path, mount_of=fails)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EROFS, "Read-only file system"), (errno.EIO, "Input/output error"), (None, None)],
)
def test_a_disk_that_cannot_be_written_is_reported_with_what_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None, reason: str | None
) -> None:
    if number is not None:
        monkeypatch.setattr(os, "open", partial(fails, number))
    text = broken_disk(tmp_path)
    assert (text is None) is (reason is None)
    if text is None:
        prepare_state(tmp_path)
        return
    said = f"the disk of the state folder {tmp_path} cannot be written ({reason}): `sudo dmesg`"
    assert said in text
    with pytest.raises(StateFolderError, match="start claraedge again; or choose another"):
        prepare_state(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP, errno.EACCES])
def test_a_full_disk_or_an_old_file_system_is_not_taken_for_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "open", partial(fails, number))
    assert broken_disk(tmp_path) is None


def fails(number: int, *_: object, **__: object) -> int:
    raise OSError(number, os.strerror(number))
