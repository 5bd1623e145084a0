"""Settings of a machine that cause harm later are reported with a remedy until corrected."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from claraedge import spawn
from claraedge.appliance import surroundings
from claraedge.appliance.surroundings import Surroundings
from claraedge.fs.mounts import Mount

DISK = Mount(id=1, point=b"/", fstype="ext4", source="/dev/vda")
UID = 4242
USER = "claraedge"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a system that has all that is needed."""
    monkeypatch.setattr(surroundings, "user_name", {UID: USER, 0: "root"}.__getitem__)
    monkeypatch.setattr(spawn, "executable", lambda name: Path("/usr/bin", name))
    for folder in ("etc", "run/systemd/system", "var/lib/systemd/linger"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("subuid", "subgid"):
        (tmp_path / "etc" / name).write_text(f"other:1:65536\n{USER}:2000000:65536\n")
    (tmp_path / "var/lib/systemd/linger" / USER).touch()
    return tmp_path


def surroundings_of(root: Path, mount: Mount | None = DISK, **more: Any) -> Surroundings:
    given = {"uid": UID, **more}
    return Surroundings(Path("/s"), root=root, mount_of=lambda _: mount, **given)


async def test_a_machine_that_has_everything_has_no_warnings(root: Path) -> None:
    assert await surroundings_of(root).warnings() == []


@pytest.mark.parametrize(
    ("fstype", "warning"),
    [
        ("tmpfs", "lies in memory (tmpfs): jobs, results and pipelines are gone when this"),
        ("virtiofs", "others may share (virtiofs, x): a power cut may damage the database"),
        ("fuse.sshfs", "others may share (fuse.sshfs, x)"),
    ],
)
async def test_a_state_that_is_not_safe_is_reported(root: Path, fstype: str, warning: str) -> None:
    mount = Mount(id=1, point=b"/s", fstype=fstype, source="x")
    (text,) = await surroundings_of(root, mount).warnings()
    assert warning in text
    assert "CLARAEDGE_STATE_DIR" in text


async def test_a_state_whose_disk_failed_is_reported(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "broken_disk", lambda path: f"{path} is broken")
    assert await surroundings_of(root).warnings() == ["/s is broken"]


async def test_missing_ranges_are_reported_with_the_file_and_how_to_add_one(root: Path) -> None:
    (root / "etc/subgid").unlink()
    (text,) = await surroundings_of(root).warnings()
    assert text.startswith("the user claraedge has no range in /etc/subgid: images whose")
    assert "usermod --add-subuids 2000000-2065535" in text
    (root / "etc/subuid").write_text("another:1:2\n")
    (text,) = await surroundings_of(root).warnings()
    assert "no range in /etc/subuid and /etc/subgid" in text


async def test_ranges_by_number_count(root: Path) -> None:
    for name in ("subuid", "subgid"):
        (root / "etc" / name).write_text(f"{UID}:100000:65536\n")
    assert await surroundings_of(root).warnings() == []


@pytest.mark.parametrize(
    ("line", "count"),
    [("subid: sss", 0), ("subid: files", 1), ("passwd: sss", 1), ("#subid: sss", 1)],
)
async def test_ranges_of_a_directory_service_are_not_required_in_files(
    root: Path, line: str, count: int
) -> None:
    (root / "etc/nsswitch.conf").write_text(f"{line}\n")
    (root / "etc/subuid").unlink()
    assert len(await surroundings_of(root).warnings()) == count


async def test_missing_helpers_are_reported_with_their_package(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "executable", lambda _name: None)
    (text,) = await surroundings_of(root).warnings()
    assert text.startswith("newuidmap and newgidmap are missing")
    assert "apt-get install uidmap" in text


async def test_a_user_that_does_not_linger_is_logged_once_and_reported_until_it_does(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    mark = root / "var/lib/systemd/linger" / USER
    mark.unlink()
    tested = surroundings_of(root)
    for _ in range(2):
        (text,) = await tested.warnings()
        assert text.startswith("the user claraedge does not linger")
        assert "loginctl enable-linger claraedge" in text
    assert caplog.text.count("does not linger") == 1
    mark.touch()
    assert await tested.warnings() == []


async def test_without_systemd_nobody_lingers(root: Path) -> None:
    (root / "var/lib/systemd/linger" / USER).unlink()
    (root / "run/systemd/system").rmdir()
    assert await surroundings_of(root).warnings() == []


async def test_root_needs_neither_ranges_nor_to_linger(root: Path) -> None:
    assert await surroundings_of(root, uid=0).warnings() == []


async def test_this_machine_is_inspected_as_it_is(tmp_path: Path) -> None:
    assert isinstance(await Surroundings(tmp_path).warnings(), list)
    assert await Surroundings(tmp_path / "gone", uid=0).warnings() == []
