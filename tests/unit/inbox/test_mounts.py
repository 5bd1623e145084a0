"""What a folder lies on is the kernel's own answer; shares are known for what they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claraedge.fs.mounts import Mount, mount_of, mount_of_open, parse, sends_events
from tests.rig.inbox import other_file_system

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
36 27 0:30 / /mnt/drop\040folder\134x rw master:1 propagate_from:2 - nfs4 box:/ex\040port rw
37 27 0:31 / /mnt/\303\244\011b rw shared:4 unbindable - fuse.sshfs a@b:/x rw,user_id=0
38 27 0:32 / /mnt/none rw - tmpfs  rw
nonsense
39 27 0:33 /
40 27 0:34 / /half rw -
"""


def test_a_table_is_read_with_its_escapes_and_optional_fields() -> None:
    mounts = parse(TABLE)
    assert mounts == (
        Mount(id=22, point=b"/proc", fstype="proc", source="proc"),
        Mount(id=27, point=b"/", fstype="ext4", source="/dev/vda"),
        Mount(id=36, point=rb"/mnt/drop folder\x", fstype="nfs4", source="box:/ex port"),
        Mount(id=37, point="/mnt/ä\tb".encode(), fstype="fuse.sshfs", source="a@b:/x"),
        Mount(id=38, point=b"/mnt/none", fstype="tmpfs", source=""),
    )
    assert [m.id for m in mounts if not m.sends_events] == [36, 37]


def test_this_machines_own_table_is_read_whole() -> None:
    text = Path("/proc/self/mountinfo").read_bytes()
    assert len(parse(text)) == text.count(b"\n")


@pytest.mark.parametrize(
    "fstype",
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "lustre", "virtiofs", "vboxsf",
     "fuse", "fuse.sshfs", "fuse.glusterfs", "fuse.rclone", "fuse.davfs2", "davfs", "autofs"],
)  # fmt: skip
def test_what_others_write_to_sends_no_events(fstype: str) -> None:
    assert not sends_events(fstype)


@pytest.mark.parametrize(
    "fstype",
    ["ext4", "xfs", "btrfs", "zfs", "f2fs", "vfat", "exfat", "ntfs3", "fuseblk", "overlay", "tmpfs",
     "bcachefs", "something-new"],
)  # fmt: skip
def test_local_file_systems_send_events(fstype: str) -> None:
    assert sends_events(fstype)


def test_a_folder_is_on_the_mount_that_its_device_says(tmp_path: Path) -> None:
    other = other_file_system(tmp_path)
    try:
        mounted = mount_of(other)
        assert mounted is not None
        assert mounted.point == b"/dev/shm"
        assert mounted.fstype == "tmpfs"
        link = tmp_path / "link"
        link.symlink_to(other)
        assert mount_of(link) == mounted
        assert mount_of(tmp_path) != mounted
    finally:
        other.rmdir()


def test_an_open_file_and_its_folder_have_the_same_mount(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        assert mount_of_open(file.fileno()) == mount_of(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mount_of(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        mount_of(tmp_path / "file")


_COVERED = """
import ctypes, os, sys
from pathlib import Path
from claraedge.fs.mounts import mount_of
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, data):
    if libc.mount(source, os.fsencode(target), b"tmpfs", 0, data):
        raise OSError(ctypes.get_errno(), "mount", str(target))
root = Path(sys.argv[1])
inner = root / "outer" / "in ner"
inner.mkdir(parents=True)
descriptor = os.open(inner, os.O_RDONLY)
mount(b"first", inner, b"")
mount(b"second", inner, b"")  # over the first
print(mount_of(inner).source, mount_of(inner).point == bytes(inner))
mount(b"third", root / "outer", b"")  # hides both, whose mount points are longer
inner.mkdir()
print(mount_of(inner).source)
"""


def test_a_later_mount_covers_an_earlier_one(tmp_path: Path) -> None:
    if os.geteuid() != 0 and not Path("/proc/self/ns/user").exists():
        pytest.skip("no user namespaces")
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", _COVERED]
    done = subprocess.run(
        [*command, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("mounts in a user namespace are forbidden here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["second True", "third", ""]
