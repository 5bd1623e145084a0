"""Trees that an operator, or who drops files, may leave: each fills an empty folder."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from tests.campaign import CAMPAIGN
from tests.rig.deep import chain

#: Not removed, read or written, whatever links lead there.
CANARY = "canary"
MANY = 100_000 if CAMPAIGN else 5_000
#: Seconds for anything that so many entries take part in.
PATIENCE = 1200.0 if CAMPAIGN else 120.0
TIMEOUT = 3600 if CAMPAIGN else 300


def deep(folder: Path, _: Path) -> None:
    for levels in (1, 100, 985, 5000):
        chain(folder / f"{levels}", "d", levels)


def long(folder: Path, _: Path) -> None:
    """Longer than PATH_MAX on the host, and in the container as well."""
    chain(folder / "15", "n" * 250, 15)
    chain(folder / "60", "n" * 250, 60)


def many(folder: Path, _: Path) -> None:
    for number in range(MANY):
        (folder / f"{number}").touch()


def links(folder: Path, canary: Path) -> None:
    """At each of some levels, to files and folders, out and in circles."""
    inner = folder
    for level in range(6):
        inner = inner / str(level)
        inner.mkdir()
        (inner / "file").symlink_to(canary / "kept")
        (inner / "out").symlink_to(canary)
        (inner / "up").symlink_to("..")
        (inner / "self").symlink_to("self")
        (inner / "nowhere").symlink_to("/nowhere")
        (inner / "\udcff").symlink_to("/etc")


def odd(folder: Path, _: Path) -> None:
    """What is no file, is no text, has holes, or has two names; and folders that are closed."""
    os.mkfifo(folder / "pipe")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as listener:
        # The path of a socket is short.
        listener.bind(f"/proc/self/fd/{os.open(folder, os.O_RDONLY)}/socket")
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (folder / "one").write_text("1")
    (folder / "two").hardlink_to(folder / "one")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe\n\x1b")).write_text("1")
    (folder / "closed" / "more").mkdir(parents=True)
    (folder / "closed" / "more" / "file").write_text("1")
    (folder / "closed" / "more").chmod(0)
    (folder / "closed").chmod(0o100)


def devices(folder: Path, _: Path) -> None:
    """Where the user may make them; a rootless one may make the white-out of an overlay alone."""
    for name, mode, number in (("null", stat.S_IFCHR, (1, 3)), ("white-out", stat.S_IFCHR, (0, 0))):
        with contextlib.suppress(OSError):
            os.mknod(folder / name, mode | 0o666, os.makedev(*number))
    with contextlib.suppress(OSError):
        os.mknod(folder / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    (folder / "file").write_text("1")


TREES: dict[str, Callable[[Path, Path], None]] = {
    tree.__name__: tree for tree in (deep, long, many, links, odd, devices)
}


def linked_value(folder: Path, canary: Path) -> None:
    """A value that leads out."""
    (folder / "image").unlink()
    (folder / "image").symlink_to(canary / "kept")


def piped_value(folder: Path, _: Path) -> None:
    (folder / "image").unlink()
    os.mkfifo(folder / "image")


def folder_value(folder: Path, canary: Path) -> None:
    (folder / "image").unlink()
    chain(folder / "image", "d", 1500)


def holey_value(folder: Path, _: Path) -> None:
    """It claims to be more than there is memory."""
    with (folder / "text").open("wb") as file:
        file.truncate(1 << 50)


#: In place of values of the names `image` (16 bytes) and `text` (a string).
VALUES: dict[str, Callable[[Path, Path], None]] = {
    value.__name__: value for value in (linked_value, piped_value, folder_value, holey_value)
}
