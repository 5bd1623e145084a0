"""rsync puts a study into the drop folder, in each of its ways to write."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.site import Drop, some_bytes, some_files, write
from tests.field.tools import interrupt, run, start

BIG = 600_000
#: KiB a second: a big file needs more than the settle time.
SLOW = "--bwlimit=150"


@case(
    7,
    "rsync writes one large file slowly",
    source="gorakhargosh/watchdog#266",
    outcome="One job with the whole file, as soon as rsync renames its hidden temporary file.",
    tools=["rsync"],
)
def test_a_slow_file(drop: Drop) -> None:
    files = {"a.dcm": some_bytes(BIG, "slow")}
    run("rsync", "-t", SLOW, write(drop.source, files) / "a.dcm", drop.folder)
    drop.makes(files)


@case(
    7,
    "rsync copies a study folder slowly",
    source="RsyncProject/rsync#685",
    outcome="One job with every file; the folder is not taken between two files.",
    tools=["rsync"],
)
def test_a_slow_folder(drop: Drop) -> None:
    files = some_files("folder", size=200_000)
    write(drop.source / "study", files)
    run("rsync", "-a", SLOW, drop.source / "study", drop.folder)
    drop.makes(files)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@case(
    1,
    "rsync with --partial-dir is interrupted and resumed",
    source="rsync(1), --partial-dir; oferchen/rsync#6815",
    outcome="The folder waits and names the unfinished file; after the second rsync it is one job"
    " with every file.",
    tools=["rsync"],
)
def test_partial_dir_resumed(drop: Drop, number: signal.Signals) -> None:
    files = {"IM1.dcm": some_bytes(1000, "one"), "IM2.dcm": some_bytes(BIG, "two")}
    write(drop.source / "study", files)
    command = ("-a", "--partial-dir=.rsync-partial", drop.source / "study", drop.folder)
    first = start("rsync", SLOW, *command)
    study = drop.folder / "study"
    drop.until("rsync writes IM2.dcm", lambda: sizes(study) and (study / "IM1.dcm").exists())
    interrupt(first, number)
    left = unfinished(study)
    drop.waits("IM2.dcm")
    assert drop.jobs() == []
    run("rsync", *command)
    if number == signal.SIGKILL:  # rsync never removes what a killed one has left
        drop.waits(left[0])
        (study / left[0]).unlink()
    drop.makes(files)


def sizes(study: Path) -> int:
    """Bytes of it."""
    return sum(path.stat().st_size for path in study.glob(".*"))


def unfinished(study: Path) -> list[str]:
    """What rsync has begun there."""
    return [path.name for path in study.glob(".*")]


@case(
    7,
    "rsync --delay-updates collects a study below .~tmp~",
    source="rsync(1), --delay-updates",
    outcome="One job with every file, once rsync has moved all of them in place.",
    tools=["rsync"],
)
def test_delayed_updates(drop: Drop) -> None:
    files = some_files("delayed", size=200_000)
    write(drop.source / "study", files)
    run("rsync", "-a", SLOW, "--delay-updates", drop.source / "study", drop.folder)
    drop.makes(files)


@case(
    7,
    "rsync --inplace writes slowly under the final name",
    source="sarbbottam/watch-and-rsync#14; guard/listen#350",
    outcome="One job with the whole file: it is not taken while rsync has it open.",
    tools=["rsync"],
)
def test_in_place(drop: Drop) -> None:
    files = {"a.dcm": some_bytes(BIG, "in place")}
    run("rsync", "--inplace", SLOW, write(drop.source, files) / "a.dcm", drop.folder)
    drop.makes(files)


@case(
    4,
    "rsync -a keeps times of years ago",
    source="rsync(1), --archive; jean-zay-users/jean-zay-doc#62",
    outcome="One job: the age of a file says nothing about when it came.",
    tools=["rsync"],
)
def test_old_times(drop: Drop) -> None:
    files = some_files("old")
    study = write(drop.source / "study", files)
    for path in [*study.iterdir(), study]:
        os.utime(path, (0, 86_400))
    run("rsync", "-a", study, drop.folder)
    drop.makes(files)


@case(
    7,
    "rsync --temp-dir writes elsewhere and renames into the drop folder",
    source="rsync(1), --temp-dir; SiCKRAGETV/sickrage-issues#2434",
    outcome="One job with every file.",
    tools=["rsync"],
)
def test_another_temporary_folder(drop: Drop) -> None:
    files = some_files("temp dir")
    write(drop.source / "study", files)
    (drop.source / "temporary").mkdir()
    run("rsync", "-a", f"--temp-dir={drop.source}/temporary", drop.source / "study", drop.folder)
    drop.makes(files)


@case(
    1,
    "rsync sends a study again with one more file, before it was taken",
    source="rsync(1), quick check",
    outcome="One job with all files of both runs.",
    tools=["rsync"],
)
def test_a_second_run(drop: Drop) -> None:
    files = some_files("again")
    study = write(drop.source / "study", files)
    run("rsync", "-a", study, drop.folder)
    write(study, more := {"late/IM9.dcm": some_bytes(100, "late")})
    run("rsync", "-a", study, drop.folder)
    drop.makes({**files, **more})


@case(
    7,
    "A backup by hard links (rsync --link-dest, rsnapshot) holds the dropped file",
    source="rsnapshot.org, rsnapshot(1); rclone/rclone#5269",
    outcome="The file waits for up to a minute, says that it has a second name, and is one job.",
    tools=["rsync"],
)
def test_a_hard_linked_backup(drop: Drop) -> None:
    files = {"a.dcm": some_bytes(1000, "linked")}
    write(drop.source / "old", files)
    linked = f"--link-dest={drop.source}/old"
    run("rsync", "-a", linked, drop.source / "old/a.dcm", drop.folder)
    assert (drop.folder / "a.dcm").stat().st_nlink == 2
    drop.waits("hard link")
    (drop.source / "old/a.dcm").unlink()
    drop.makes(files)


@case(
    1,
    "rsync -P (--partial) is interrupted, which leaves half a file under its name, and resumed",
    source="rsync(1), --partial; oferchen/rsync#6815",
    outcome="One job with every file, where it is resumed within the settle time.",
    tools=["rsync"],
)
def test_partial_resumed_at_once(patient: Drop) -> None:
    files = {"IM1.dcm": some_bytes(1000, "one"), "IM2.dcm": some_bytes(BIG, "two")}
    write(patient.source / "study", files)
    study = patient.folder / "study"
    command = ("-aP", patient.source / "study", patient.folder)
    first = start("rsync", SLOW, *command)
    patient.until("rsync writes IM2.dcm", lambda: sizes(study) and (study / "IM1.dcm").exists())
    interrupt(first, signal.SIGTERM)
    assert (study / "IM2.dcm").exists()
    run("rsync", *command)
    patient.makes(files)


@case(
    2,
    "rsync stops for good and leaves its hidden temporary file",
    source="RsyncProject/rsync#685",
    outcome="No job; the file stays where it is, and `list inbox` or `status` names it.",
    tools=["rsync"],
)
def test_what_a_killed_rsync_leaves(drop: Drop) -> None:
    write(drop.source, {"a.dcm": some_bytes(BIG, "killed")})
    first = start("rsync", SLOW, drop.source / "a.dcm", drop.folder)
    drop.until("rsync has begun", lambda: unfinished(drop.folder))
    interrupt(first, signal.SIGKILL)
    drop.is_left(*unfinished(drop.folder))
    assert drop.jobs() == []
