"""A state whose files are damaged is recognised, named, and can be repaired."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.state_site import BUGS, StateSite, files_of, roots, site, spoil

PAGE = 4096


@pytest.fixture
def copied(sound: StateSite) -> Iterator[StateSite]:
    """The same in a folder of its own."""
    with site() as made:
        shutil.copytree(sound.folder, made.folder, dirs_exist_ok=True)
        (made.folder / "daemon.log").write_text("")
        yield made


def drop(made: StateSite) -> Path:
    """A file in the inbox."""
    dropped = made.state / "inbox" / "copy" / "new.dcm"
    dropped.write_bytes(b"dropped while it was damaged")
    return dropped


@pytest.mark.parametrize("table", ["jobs", "inbox_items", "payloads", "models", "events"])
@pytest.mark.parametrize("after", ["stop", "kill"])
@case(
    5,
    "a page of the database is zeros after a power cut",
    source="home-assistant/core#115342",
    outcome="The start ends with 73 and a sentence that names the file and the command that repairs"
    " it; dropped files and everything else stay as they are.",
)
def test_a_table_that_lost_its_first_page(copied: StateSite, table: str, after: str) -> None:
    if after == "kill":
        copied.start()
        copied.stop(signal.SIGKILL)
        with closing(copied.connected()) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil(copied.database, roots(copied.database)[table], bytes(PAGE))
    dropped = drop(copied)
    before = files_of(copied.state)
    said = copied.refused()
    assert str(copied.database) in said
    assert "is damaged" in said
    assert f"claraedge repair state --state-dir {copied.state}" in said
    assert files_of(copied.state) == before
    assert dropped.exists()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("2026-11-29 a line of a log\n" * 400)


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def short(path: Path) -> None:
    os.truncate(path, 50)


def first_page(path: Path) -> None:
    spoil(path, 1, bytes(PAGE))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (empty, "is empty, and"),
        (Path.unlink, "is not there, and"),
        (text, "does not begin as a database does"),
        (half, "is damaged"),
        (short, "does not begin as a database does"),
        (first_page, "does not begin as a database does"),
        (folder, "is no file"),
    ],
)
@case(
    5,
    "the database is empty, cut short, another file, or gone",
    source="home-assistant/core#33722",
    outcome="The start ends with 73 and says which of these it is; payloads and models stay.",
)
def test_a_file_that_is_no_database_any_more(
    copied: StateSite, harm: Callable[[Path], None], says: str
) -> None:
    harm(copied.database)
    before = files_of(copied.state)
    said = copied.refused()
    assert says in said
    assert str(copied.database) in said
    assert files_of(copied.state) == before


@case(
    5,
    "the database is damaged while the program works with it",
    source="home-assistant/core#46612",
    outcome="The daemon stops taking work, writes nothing more, and ends with 73 and the sentence"
    " of the start; no job fails for it.",
)
def test_damage_that_comes_while_it_works(copied: StateSite) -> None:
    copied.start()
    pipeline = next(
        p["id"] for p in copied.say("list", "pipelines")["pipelines"] if p["name"] == "wait"
    )
    job = copied.say("create", "job", "-n", "runs", "-p", pipeline, "--start")["job_id"]
    copied.until("the job runs", lambda: copied.jobs()[job] == "RUNNING")
    size = copied.database.stat().st_size
    noise = random.Random(1).randbytes(size - PAGE)
    with copied.database.open("r+b") as file:
        file.seek(PAGE)
        file.write(noise)
    (copied.folder / "go").touch()  # its end is to be recorded
    dropped = drop(copied)
    refused = copied.run("list", "jobs")
    while refused.returncode == 0:
        refused = copied.run("list", "jobs")
    assert copied.ends() == 73, copied.log[-3000:]
    assert copied.log.count(f"claraedge: {copied.database} is damaged: ") == 1
    assert not [bug for bug in BUGS if bug in copied.log], copied.log
    assert dropped.exists() or list((copied.state / "spool").glob("*/new.dcm"))
    with copied.database.open("rb") as file:
        file.seek(PAGE)
        assert file.read() == noise


def everywhere(state: Path) -> list[bytes]:
    """The content of all files of payloads and models, wherever they lie."""
    return sorted(
        path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and ("payloads" in path.parts or "models" in path.parts)
    )


def healthy(made: StateSite) -> int:
    return list(made.jobs().values()).count("HEALTHY")


@pytest.mark.parametrize("table", ["jobs", "inbox_items", "payloads", "payload_files", "facts"])
@case(
    5,
    "an administrator repairs a damaged database on the device",
    source="Servarr/Wiki#438",
    outcome="`claraedge repair state` keeps every row that can be read, says what is lost, and puts"
    " the damaged database and files of lost rows aside; the daemon serves again.",
)
def test_a_repaired_state_serves_and_has_lost_no_file(copied: StateSite, table: str) -> None:
    before = everywhere(copied.state)
    spoil(copied.database, roots(copied.database)[table], bytes(PAGE))
    spoiled = copied.database.read_bytes()
    copied.refused()
    done = copied.run("repair", "state", "--state-dir", copied.state)
    assert done.returncode == 0, done.stderr
    (aside,) = copied.state.glob("damaged-*")
    assert f"MOVED TO: {aside}" in done.stdout
    assert "others are lost" in done.stdout
    assert (aside / "claraedge.db").read_bytes() == spoiled
    assert everywhere(copied.state) == before
    again = copied.run("repair", "state", "--state-dir", copied.state)
    assert "the state is sound" in again.stdout
    (copied.folder / "go").touch()
    copied.start()
    jobs = copied.jobs()
    if table == "jobs":
        assert done.stdout.count("LOST JOB") == 16
    elif table in ("inbox_items", "facts"):
        assert list(jobs.values()).count("HEALTHY") == 15
    if table in ("payload_files", "inbox_items"):
        assert done.stdout.count("ENDED JOB") == 1
        (ended,) = [job for job, status in jobs.items() if status == "FAULTED"]
        described = str(copied.say("describe", "job", "-j", ended))
        assert "the state was damaged and repaired" in described
    dropped = drop(copied)
    copied.until("it is taken", lambda: not dropped.exists())
    good = list(jobs.values()).count("HEALTHY")
    copied.until("its job has run", lambda: healthy(copied) > good)
    copied.stop()
    assert not [bug for bug in BUGS if bug in copied.log], copied.log
    assert not set(before) - set(everywhere(copied.state))


def test_a_lost_database_is_created_again_and_its_files_are_put_aside(copied: StateSite) -> None:
    before = everywhere(copied.state)
    copied.database.unlink()
    copied.refused()
    assert copied.run("repair", "state", "--state-dir", copied.state).returncode == 0
    copied.start()
    copied.stop()
    assert everywhere(copied.state) == before


def test_a_repair_while_a_daemon_runs_is_refused(copied: StateSite) -> None:
    copied.start()
    done = copied.run("repair", "state", "--state-dir", copied.state)
    assert done.returncode == 75
    assert "stop that one" in done.stderr


@case(
    5,
    "the configuration holds nothing but zeros after a power cut",
    source="Tribler/tribler#5548",
    outcome="The start ends with 78 and one sentence: the file, what it holds, and to write it"
    " again.",
)
def test_a_configuration_of_zeros(tmp_path: Path) -> None:
    config = tmp_path / "claraedge.toml"
    config.write_bytes(bytes(700))
    with site() as made:
        done = made.run("serve", "--config", config, "--state-dir", made.state)
    assert done.returncode == 78
    assert f"{config}: not TOML" in done.stderr
    assert "as after a power cut: write it again" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["claraedge.lock", "claraedge.db-wal", "claraedge.db-shm"])
def test_a_folder_where_a_file_of_the_database_is(copied: StateSite, name: str) -> None:
    (copied.state / name).unlink(missing_ok=True)
    (copied.state / name).mkdir()
    assert str(copied.state / name) in copied.refused()


def test_files_of_the_database_that_nobody_may_read_are_given_their_modes(
    copied: StateSite,
) -> None:
    copied.database.chmod(0)
    copied.start()
    copied.stop(signal.SIGKILL)
    for file in copied.state.glob("claraedge.db*"):
        file.chmod(0o400)
    copied.start()
    assert len(copied.jobs()) == 16
    copied.stop()


@pytest.mark.parametrize("content", [b"", bytes(40), b"\xff garbage"])
def test_small_files_of_the_state_that_are_damaged_keep_no_start_back(
    copied: StateSite, content: bytes
) -> None:
    """Small records are created again: the lock's process, the records of the model server."""
    (copied.state / "claraedge.lock").write_bytes(content)
    for record in copied.state.rglob("*.json"):
        if "outbox" not in record.parts and "failed" not in record.parts:
            record.write_bytes(content)
    copied.start()
    assert len(copied.jobs()) == 16
    copied.stop()
    assert not [bug for bug in BUGS if bug in copied.log], copied.log
