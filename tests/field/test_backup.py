"""A backup is made while the daemon works, and restored somewhere else."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from claraedge.daemon.backups import archive, backup
from claraedge.daemon.backups import restore as restore_module
from claraedge.errors import BackupError, NewerStateError
from claraedge.fs.room import NoRoomError
from claraedge.store import migrations
from claraedge.store.migrations import begin, schema_version, steps_taken
from tests import campaign
from tests.field.state_site import BUGS, StateSite, files_of, site
from tests.rig.later_schema import later_schema

KILLS = 60 if campaign.CAMPAIGN else 6

#: `claraedge backup` or `restore`, killed at a failpoint or after some seconds.
KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from claraedge.daemon.backups import backup, restore
from claraedge.failpoints import hooked

what, state, file, at = sys.argv[1:]

def kill(name):
    if name == at:
        os.kill(os.getpid(), signal.SIGKILL)

with hooked(kill):
    if what == "backup":
        backup.backup(None, {"state_dir": state}, Path(file), payloads=True)
    else:
        restore.restore(None, {"state_dir": state}, Path(file), replace=True)
"""


@contextmanager
def copy_of(sound: StateSite) -> Iterator[StateSite]:
    with site() as made:
        shutil.copytree(sound.folder, made.folder, dirs_exist_ok=True)
        (made.folder / "daemon.log").write_text("")
        yield made


@pytest.fixture
def copied(sound: StateSite) -> Iterator[StateSite]:
    """The same in a folder of its own."""
    with copy_of(sound) as made:
        yield made


@pytest.fixture
def other() -> Iterator[StateSite]:
    """An empty site, as on another machine."""
    with site() as made:
        yield made


def back_up(made: StateSite, file: Path, *more: str) -> str:
    done = made.run("backup", file, "--state-dir", made.state, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def restore(made: StateSite, file: Path, *more: str) -> str:
    done = made.run("restore", file, "--state-dir", made.state, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(database: Path, *tables: str) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {
            t: connection.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in tables
        }


SAME = ("jobs", "operators", "payloads", "payload_files", "pipelines", "definitions", "models")


def database_of(file: Path, folder: Path) -> Path:
    with tarfile.open(file) as tar:
        content = tar.extractfile("claraedge.db")
        assert content is not None
        (folder / "snapshot.db").write_bytes(content.read())
    return folder / "snapshot.db"


def payload_files(state: Path, database: Path) -> dict[str, bytes]:
    """What the rows of a database name: path -> content."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found = connection.execute(
            "SELECT f.payload, f.blob FROM payload_files f JOIN payloads p ON p.id = f.payload"
            " WHERE p.deleted IS NULL"
        ).fetchall()
    paths = [Path("payloads", payload, os.fsdecode(blob)) for payload, blob in found]
    return {str(path): (state / path).read_bytes() for path in paths}


def instance(database: Path) -> str:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return str(
            connection.execute("SELECT value FROM facts WHERE key = 'instance'").fetchone()[0]
        )


def test_a_backup_with_payloads_is_the_same_state_elsewhere(
    copied: StateSite, other: StateSite, tmp_path: Path
) -> None:
    file = tmp_path / "state.tar"
    said = back_up(copied, file, "--payloads")
    assert "JOBS: 16, of which 1 have not stopped" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state.tar"]
    assert not list(copied.state.glob(".backup*"))
    said = restore(other, file)
    assert "JOBS: 16" in said
    assert "MISSING" not in said
    assert rows(other.database, *SAME) == rows(copied.database, *SAME)
    assert payload_files(other.state, other.database) == payload_files(
        copied.state, copied.database
    )
    assert instance(other.database) != instance(copied.database)
    (copied.folder / "go").touch()
    other.start()
    copied.start()  # the original runs as well
    assert other.jobs() == copied.jobs()
    job = next(job for job, status in other.jobs().items() if status == "PENDING")
    other.say("start", "job", "-j", job)
    other.until("it has run", lambda: other.jobs()[job] == "HEALTHY")
    assert copied.jobs()[job] == "PENDING"
    (new,) = [other.state / "inbox" / "copy"]
    new.mkdir(parents=True, exist_ok=True)
    (new / "new.dcm").write_bytes(b"dropped after the restore")
    other.until("it is taken", lambda: len(other.jobs()) == 17)
    other.until("it has run", lambda: list(other.jobs().values()).count("HEALTHY") == 17)
    other.stop()
    copied.stop()
    assert not (other.state / "unknown").exists()
    assert not [bug for bug in BUGS if bug in other.log + copied.log]


def test_a_backup_without_payloads_says_what_is_missing(
    copied: StateSite, other: StateSite, tmp_path: Path
) -> None:
    file = tmp_path / "state.tar"
    assert "WITHOUT: files of payloads" in back_up(copied, file)
    assert file.stat().st_size < 2_000_000
    said = restore(other, file)
    named = payload_files(copied.state, copied.database)
    assert f"MISSING: {len(named)} files of payloads are not in the backup" in said
    assert "WITHOUT: files of payloads" in said
    other.start()
    assert len(other.jobs()) == 16
    (job,) = [job for job, status in other.jobs().items() if status == "PENDING"]
    other.say("start", "job", "-j", job)
    other.until("it has failed", lambda: other.jobs()[job] == "FAULTED")
    assert "send the file again" in str(other.say("describe", "job", "-j", job))
    other.stop()


def test_a_job_that_ran_goes_on_after_the_restore_and_says_so(
    copied: StateSite, other: StateSite, tmp_path: Path
) -> None:
    copied.start()
    pipeline = next(
        p["id"] for p in copied.say("list", "pipelines")["pipelines"] if p["name"] == "wait"
    )
    job = copied.say(
        *("create", "job", "-n", "runs", "-p", pipeline),
        *("-f", copied.folder / "image.bin", "--start"),
    )["job_id"]
    copied.until("the job runs", lambda: copied.jobs()[job] == "RUNNING")
    file = tmp_path / "state.tar"
    back_up(copied, file, "--payloads")
    said = restore(other, file)
    assert f"CONTINUES: {job}" in said
    (other.folder / "go").touch()
    other.start()
    other.until("it has run", lambda: other.jobs()[job] == "HEALTHY")
    assert "restored from a backup of" in str(other.say("describe", "job", "-j", job))
    assert copied.jobs()[job] == "RUNNING"
    other.stop()
    copied.stop()


def test_a_backup_under_load_is_a_state_as_it_was_at_one_moment(
    copied: StateSite, other: StateSite, tmp_path: Path
) -> None:
    copied.start()
    pipeline = next(
        p["id"] for p in copied.say("list", "pipelines")["pipelines"] if p["name"] == "copy"
    )
    stop = threading.Event()

    def load(seed: int) -> None:
        number = 0
        while not stop.is_set():
            (copied.state / "inbox" / "copy" / f"{seed}-{number}.dcm").write_bytes(os.urandom(3000))
            job = copied.run(
                *("create", "job", "-n", f"load-{seed}-{number}", "-p", pipeline),
                *("-f", copied.folder / "image.bin", "--start", "--output", "json"),
            )
            if number % 3 == 2:
                payload = json.loads(job.stdout)["payload_id"]
                copied.run("delete", "payloads", payload)
            number += 1

    threads = [threading.Thread(target=load, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5 if campaign.CAMPAIGN else 2):
            file = tmp_path / f"{number}.tar"
            assert "MISSING" not in back_up(copied, file, "--payloads")
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    for file in sorted(tmp_path.glob("*.tar")):
        with site() as made:
            assert "MISSING" not in restore(made, file)
            snapshot = database_of(file, tmp_path)
            assert rows(made.database, *SAME) == rows(snapshot, *SAME)
            there = payload_files(made.state, made.database)
            with tarfile.open(file) as tar:
                for name, content in there.items():
                    member = tar.extractfile(name)
                    assert member is not None
                    assert member.read() == content
            (made.folder / "go").touch()
            made.start()
            made.until(
                "all has ended",
                lambda made=made: not {"RUNNING", "PENDING"} & set(done(made)),
            )
            assert set(done(made)) == {"HEALTHY"}
            made.stop()
            assert not [bug for bug in BUGS if bug in made.log]
    copied.stop()


def done(made: StateSite) -> list[str]:
    """How the started jobs are: a client may have been about to start one more."""
    with closing(sqlite3.connect(made.database, timeout=20)) as connection:
        started = {
            job
            for (job,) in connection.execute(
                "SELECT id FROM jobs WHERE queue_position IS NOT NULL OR state = 3"
            )
        }
    return [
        job["status"] if job["state"] == "STOPPED" else job["state"]
        for job in made.say("list", "jobs")["jobs"]
        if job["id"] in started
    ]


def killed(what: str, state: Path, file: Path, at: str, after: float | None = None) -> int:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, what, str(state), str(file), at], stderr=subprocess.PIPE
    )
    with child:
        if after is not None:
            time.sleep(after)
            child.kill()
        _, said = child.communicate(timeout=60)
    assert child.returncode in (0, -signal.SIGKILL), said.decode()
    return child.returncode


def moments(kind: str) -> list[str | float]:
    """Names of failpoints, and seconds of a run."""
    names: list[str | float] = {
        "backup": ["backup: database", "backup: files", "backup: whole"],
        "restore": [
            *("restore: file 0", "restore: file 20", "restore: extracted", "restore: built"),
            *("restore: recorded", "restore: payloads aside", "restore: payloads"),
            *("restore: jobs aside", "restore: claraedge.db aside", "restore: claraedge.db"),
            "restore: replaced",
        ],
    }[kind]  # type: ignore[assignment]
    return [*names, *(random.Random(i).uniform(0.1, 1.0) for i in range(KILLS))]


def test_a_backup_that_is_killed_leaves_no_file_or_a_whole_one(
    copied: StateSite, tmp_path: Path
) -> None:
    before = files_of(copied.state)
    file = tmp_path / "state.tar"
    for moment in moments("backup"):
        named = isinstance(moment, str)
        killed("backup", copied.state, file, str(moment), None if named else moment)  # type: ignore[arg-type]
        assert not (named and file.exists())
        if file.exists():
            with site() as made:
                restore(made, file)
                assert rows(made.database, *SAME) == rows(copied.database, *SAME)
            file.unlink()
    back_up(copied, file, "--payloads")
    assert [path.name for path in tmp_path.iterdir()] == ["state.tar"]
    assert files_of(copied.state) == before


@pytest.mark.parametrize("moment", moments("restore"), ids=str)
def test_a_restore_that_is_killed_leaves_the_old_state_or_the_new_one(
    sound: StateSite, tmp_path: Path, moment: str | float
) -> None:
    file = tmp_path / "state.tar"
    back_up(sound, file, "--payloads")
    with copy_of(sound) as made:
        with closing(made.connected()) as connection:
            connection.execute("UPDATE jobs SET name = 'of the old state'")
        (made.state / "payloads" / "old").mkdir()
        (made.state / "payloads" / "old" / "file").write_bytes(b"of the old state")
        old, new = rows(made.database, *SAME), rows(sound.database, *SAME)
        named = isinstance(moment, str)
        killed("restore", made.state, file, str(moment), None if named else float(moment))
        made.start()
        made.stop()
        found = rows(made.database, *SAME)
        assert found in (old, new)
        if moment in ("restore: extracted", "restore: built"):
            assert found == old
        if named and moment not in (
            "restore: file 0",
            "restore: file 20",
            "restore: extracted",
            "restore: built",
        ):
            assert found == new
        assert payload_files(made.state, made.database) == payload_files(
            sound.state, sound.database
        )
        kept = [path.read_bytes() for path in made.state.rglob("old/file")]
        assert kept == [b"of the old state"]
        assert not (made.state / "restoring").exists()
        assert not (made.state / "restoring.json").exists()
        if found == new:
            (aside,) = made.state.glob("replaced-*")
            assert rows(aside / "claraedge.db", *SAME) == old


def test_a_state_that_is_not_empty_is_replaced_only_by_choice(
    copied: StateSite, tmp_path: Path
) -> None:
    file = tmp_path / "state.tar"
    back_up(copied, file, "--payloads")
    bag = Path("deployments") / "bags" / f"bagjob-{'a' * 24}" / "recording" / "a.bag"
    (copied.state / bag).parent.mkdir(parents=True)
    (copied.state / bag).write_bytes(b"of a job that the backup does not know")
    before = files_of(copied.state)
    done = copied.run("restore", file, "--state-dir", copied.state)
    assert done.returncode == 65
    assert "is not empty" in done.stderr
    assert "--replace" in done.stderr
    assert files_of(copied.state) == before
    said = restore(copied, file, "--replace")
    (aside,) = copied.state.glob("replaced-*")
    assert f"MOVED TO: {aside}" in said
    assert (aside / bag).exists()
    assert not (copied.state / bag).exists()
    assert {p: c for p, c in files_of(aside).items() if p.startswith("payloads")} == {
        p: c for p, c in before.items() if p.startswith("payloads")
    }
    copied.start()
    assert len(copied.jobs()) == 16
    done = copied.run("restore", file, "--state-dir", copied.state, "--replace")
    assert done.returncode == 75
    assert "stop it first" in done.stderr
    copied.stop()


def harmed(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "a byte":
        at = content.index(b"image" * 100) + 50
        content[at] ^= 1
    elif how == "text":
        content = bytearray(b"no tar file\n" * 100)
    elif how == "empty":
        content.clear()
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("cut", "it ends in the middle"),
        ("a byte", "holds other bytes than it did"),
        ("text", "is no backup of claraedge"),
        ("empty", "is no backup of claraedge"),
    ],
)
def test_a_damaged_backup_is_refused_and_nothing_is_changed(
    copied: StateSite, tmp_path: Path, how: str, says: str
) -> None:
    file = tmp_path / "state.tar"
    back_up(copied, file, "--payloads")
    harmed(file, how)
    before = files_of(copied.state)
    done = copied.run("restore", file, "--state-dir", copied.state, "--replace")
    assert done.returncode == 65
    assert says in done.stderr
    assert files_of(copied.state) == before
    copied.start()
    copied.stop()


def about(schema: int) -> archive.About:
    return archive.About(
        version="1", schema=schema, instance="", created=0.0, state="/x", payloads=True
    )


def hostile(file: Path, path: str) -> None:
    with file.open("w+b") as out:
        writer = archive.BackupWriter(out)
        writer.add_text(archive.ABOUT, about(schema=1))
        stored = archive.BackupFile(1, "0" * 64, 0o644)
        writer.add_text(
            archive.MANIFEST,
            archive.Manifest(files={path: stored}, folders={}, links={}, missing=0),
        )
        writer.finish()


@pytest.mark.parametrize(
    "path", ["../x", "payloads/../../x", "/etc/x", "payloads//x", "outbox/x", "payloads/%2E%2E/x"]
)
def test_a_backup_that_leads_out_of_the_state_is_refused(
    other: StateSite, tmp_path: Path, path: str
) -> None:
    hostile(tmp_path / "state.tar", path)
    done = other.run("restore", tmp_path / "state.tar", "--state-dir", other.state)
    assert done.returncode == 65, done.stderr
    assert "it has a file" in done.stderr
    assert not list(other.folder.rglob("x"))


def test_what_keeps_a_backup_from_being_made_is_reported(copied: StateSite, tmp_path: Path) -> None:
    there = tmp_path / "there.tar"
    there.write_bytes(b"")
    for file, state, says, code in (
        (there, copied.state, "is there already", 65),
        (tmp_path / "no" / "x.tar", copied.state, "No such file", 1),
        (tmp_path / "x.tar", tmp_path, "there is no state in", 73),
    ):
        done = copied.run("backup", file, "--state-dir", state)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    with copied.database.open("r+b") as out:
        out.seek(4096 * 2)
        out.write(b"\xff" * 4096)
    done = copied.run("backup", tmp_path / "x.tar", "--state-dir", copied.state)
    assert done.returncode == 73
    assert "is damaged" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.tar"]


def older_state(folder: Path) -> Path:
    """A state as a version before the last migration left it."""
    steps = schema_version() - 1
    folder.mkdir()
    with closing(sqlite3.connect(folder / "claraedge.db", isolation_level=None)) as connection:
        begin(connection, steps)
        connection.execute(f"PRAGMA user_version = {steps}")
        connection.execute("INSERT INTO facts VALUES ('instance', '0123')")
        connection.execute("INSERT INTO definitions VALUES ('d', '[]')")
    return folder


def test_a_backup_of_an_older_version_is_restored_and_one_of_a_newer_version_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "SCHEMA", later_schema())
    old, new, file = older_state(tmp_path / "old"), tmp_path / "new", tmp_path / "state.tar"
    backup.backup(None, {"state_dir": str(old)}, file, payloads=True)
    restore_module.restore(None, {"state_dir": str(new)}, file, replace=False)
    assert rows(new / "claraedge.db", "definitions") == {"definitions": [("d", "[]")]}
    with closing(sqlite3.connect(new / "claraedge.db")) as connection:
        assert steps_taken(connection) == schema_version()
        connection.execute(f"PRAGMA user_version = {schema_version() + 1}")
    with pytest.raises(NewerStateError):
        backup.backup(None, {"state_dir": str(new)}, tmp_path / "b.tar", payloads=True)
    newer = tmp_path / "newer.tar"
    with newer.open("w+b") as out:
        writer = archive.BackupWriter(out)
        writer.add_text(archive.ABOUT, about(schema=schema_version() + 1))
        manifest = archive.Manifest(files={}, folders={}, links={}, missing=0)
        writer.add_text(archive.MANIFEST, manifest)
        writer.finish()
    with pytest.raises(BackupError, match="a newer claraedge"):
        restore_module.restore(None, {"state_dir": str(new)}, newer, replace=True)


def test_without_room_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "SCHEMA", later_schema())
    old, file = older_state(tmp_path / "old"), tmp_path / "state.tar"
    given = {"state_dir": str(old)}

    def full(folder: Path, size: int, *, source: int) -> None:
        raise NoRoomError(28, f"{size} bytes are needed, and 0 are free", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(backup, "need_room", full)
        with pytest.raises(NoRoomError):
            backup.backup(None, given, file, payloads=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    backup.backup(None, given, file, payloads=True)
    before = (old / "claraedge.db").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(restore_module, "need_room", full)
        with pytest.raises(NoRoomError):
            restore_module.restore(None, given, file, replace=True)
    assert (old / "claraedge.db").read_bytes() == before
    assert not list(old.glob("restoring*"))
