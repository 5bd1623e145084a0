"""Makes the disk of a machine for tests: Debian with systemd and Podman, booted by emulation.

python build/lib/machine.py

Below .cache/machine, made once for what is said here: `disk.img`, the root file system, and `linux`
and `initrd`, which boot it. claraedge is not in it: a second disk, made for each boot, contains it.
Works as an ordinary user who has ranges of subordinate users; mmdebstrap needs the network.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import images

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "machine"
STAMP = FOLDER / "made-from"
RELEASE = "bookworm"

#: What an installed system has.
BASE = (
    "dbus", "e2fsprogs", "kmod", "libpam-systemd", "linux-image-cloud-amd64", "procps", "systemd",
    "systemd-sysv", "udev",
)  # fmt: skip
#: The packages that docs/installation.md asks administrators to install.
REQUIRED = ("podman", "uidmap", "slirp4netns", "fuse-overlayfs", "dbus-user-session")

#: Runs what the host sends as root: a line is a number and a script in base64, an answer is the
#: number, the exit code and the output in base64.
AGENT = """\
#!/bin/bash
until [[ -c /dev/virtio-ports/driver ]]; do
    echo "no channel yet: $(cd /dev && echo vport* virtio-ports/*)" >/dev/console
    sleep 1
done
exec 3<>/dev/virtio-ports/driver
echo "up $(cat /proc/sys/kernel/random/boot_id)" >&3
while read -r number script <&3; do
    base64 -d <<<"$script" >/run/agent.script
    bash /run/agent.script </dev/null >/run/agent.output 2>&1
    echo "$number $? $(base64 -w 0 </run/agent.output)" >&3
done
"""

FILES = {
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\nLABEL=program /mnt ext4 ro 0 0\n",
    "etc/hostname": "appliance\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 appliance\n",
    # Without one the machine would treat each boot as its first.
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "usr/local/sbin/agent": AGENT,
    "etc/systemd/system/agent.service": (
        "[Unit]\nAfter=multi-user.target\n"
        "[Service]\nType=exec\nExecStart=/usr/local/sbin/agent\nStandardInput=null\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
    # As slow as emulation is, what is of no use here is left out.
    "etc/systemd/system/serial-getty@ttyS0.service": None,
    "etc/systemd/system/getty@tty1.service": None,
    "etc/systemd/system/apt-daily.timer": None,
    "etc/systemd/system/apt-daily-upgrade.timer": None,
    "etc/systemd/system/dpkg-db-backup.timer": None,
    "etc/systemd/system/e2scrub_all.timer": None,
    "etc/systemd/system/e2scrub_reap.service": None,
    "etc/systemd/system/fstrim.timer": None,
}
"""Written over the installed system; None: masked."""


def fingerprint() -> str:
    """SHA-256 over all that the disk is made from."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def is_fresh() -> bool:
    return STAMP.is_file() and STAMP.read_text(encoding="ascii") == fingerprint()


def build() -> None:
    """Replaces the folder by a new one; lasts about two minutes."""
    print("==> making the disk of a machine", file=sys.stderr)
    began = time.monotonic()
    FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent, prefix="machine-") as name:
        made = Path(name, "made")
        made.mkdir()
        installed = Path(name, "root.tar")
        _install(installed, Path(name, "files"))
        # As root of a user namespace, so that every owner is what it is; the kernel makes devices.
        subprocess.run(
            ["podman", "unshare", "sh", "-ec", _PACK, "-", installed, Path(name, "root"), made],
            check=True,
        )  # fmt: skip
        (made / STAMP.name).write_text(fingerprint(), encoding="ascii")
        shutil.rmtree(FOLDER, ignore_errors=True)
        made.rename(FOLDER)
    print(f"==> {FOLDER.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)


_PACK = """
mkdir "$2"
trap 'rm -rf "$2"' EXIT
tar -C "$2" --numeric-owner -p -x --exclude './dev/*' -f "$1"
cp "$2"/boot/vmlinuz-* "$3/linux"
cp "$2"/boot/initrd.img-* "$3/initrd"
mke2fs -q -t ext4 -d "$2" "$3/disk.img" 4G
"""


def _install(target: Path, files: Path) -> None:
    """The whole system as a tar."""
    for path, text in FILES.items():
        file = files / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            file.symlink_to("/dev/null")
        else:
            file.write_text(text, encoding="utf-8")
    (files / "usr/local/sbin/agent").chmod(0o755)
    wants = files / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "agent.service").symlink_to("/etc/systemd/system/agent.service")
    release = images.os_release()
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--mode=unshare",
            "--variant=minbase",
            f"--include={','.join((*BASE, *REQUIRED))}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in images.LEFT_OUT),
            f"--customize-hook=sync-in {files} /",
            RELEASE,
            str(target),
            *(images.own_mirror(release) if release["VERSION_CODENAME"] == RELEASE else ()),
        ],
        check=True,
    )


if __name__ == "__main__":
    if is_fresh():
        print("==> the disk of the machine is up to date", file=sys.stderr)
    else:
        build()
