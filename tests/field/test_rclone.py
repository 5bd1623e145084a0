"""rclone puts a study into the drop folder, on this machine and over SFTP."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.servers import Server
from tests.field.site import Drop, some_bytes, some_files, write
from tests.field.tools import interrupt, run, start

BIG = 600_000
#: Of all transfers together; the first 64 KiB are free.
SLOW = ("--bwlimit=150k", "--buffer-size=0")
PLAIN = ("--config=/dev/null", "--transfers=2")


def sftp(server: Server) -> str:
    """A remote that needs no configuration."""
    return f":sftp,host=127.0.0.1,port={server.port},key_file='{server.key}':"


@pytest.mark.parametrize("verb", ["copy", "move", "sync"])
@case(
    7,
    "rclone copies, moves or synchronises a study folder slowly",
    source="rclone/rclone#3612; rclone/rclone#3770; rclone/rclone#6913",
    outcome="One job with every file; files named `.partial` are waited for.",
    tools=["rclone"],
)
def test_a_slow_folder(drop: Drop, verb: str) -> None:
    files = some_files(verb, size=200_000)
    write(drop.source / "study", files)
    run("rclone", verb, *PLAIN, *SLOW, drop.source / "study", drop.folder / "study")
    drop.makes(files)


@case(
    7,
    "rclone uploads one large file by SFTP",
    source="rclone/rclone#3612",
    outcome="One job with the whole file, as soon as rclone renames `NAME.xxxxxxxx.partial`.",
    tools=["rclone", "sshd"],
)
def test_a_slow_file_by_sftp(drop: Drop, server: Server) -> None:
    files = {"a.dcm": some_bytes(BIG, "sftp")}
    write(drop.source, files)
    run("rclone", "copy", *PLAIN, *SLOW, drop.source / "a.dcm", f"{sftp(server)}{drop.folder}")
    drop.makes(files)


@case(
    7,
    "rclone --inplace writes slowly under the final name",
    source="rclone.org/docs, --inplace",
    outcome="One job with the whole file: it is not taken while rclone has it open.",
    tools=["rclone"],
)
def test_in_place(drop: Drop) -> None:
    files = {"a.dcm": some_bytes(BIG, "in place")}
    write(drop.source, files)
    run("rclone", "copy", *PLAIN, *SLOW, "--inplace", drop.source / "a.dcm", drop.folder)
    drop.makes(files)


@case(
    1,
    "rclone is killed in the middle of a study and started again",
    source="rclone/rclone#8035",
    outcome="The folder waits and names the `.partial` file; after the second rclone it is one job"
    " with every file.",
    tools=["rclone"],
)
def test_killed_and_repeated(drop: Drop) -> None:
    files = {"IM1.dcm": some_bytes(1000, "one"), "IM2.dcm": some_bytes(2 * BIG, "two")}
    write(drop.source / "study", files)
    study = drop.folder / "study"
    first = start("rclone", "copy", *PLAIN, *SLOW, drop.source / "study", study)
    drop.until(
        "rclone writes IM2.dcm",
        lambda: (study / "IM1.dcm").exists() and (unfinished(study) or [""])[0].startswith("IM2"),
    )
    interrupt(first, signal.SIGKILL)
    (left,) = unfinished(study)
    drop.waits(left)
    run("rclone", "copy", *PLAIN, drop.source / "study", study)
    drop.makes(files)


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.partial")]


@case(
    2,
    "rclone stops for good and leaves its `.partial` file",
    source="rclone/rclone#8035",
    outcome="No job; the file stays where it is, and `list inbox` or `status` names it.",
    tools=["rclone"],
)
def test_what_a_killed_rclone_leaves(drop: Drop) -> None:
    write(drop.source, {"a.dcm": some_bytes(2 * BIG, "killed")})
    first = start("rclone", "copy", *PLAIN, *SLOW, drop.source / "a.dcm", drop.folder)
    drop.until("rclone has begun", lambda: unfinished(drop.folder))
    interrupt(first, signal.SIGKILL)
    drop.is_left(*unfinished(drop.folder))
    assert drop.jobs() == []
