"""`claraedge restore`: restores a state from a backup, on the same machine or on another one.

The restored state gets a new instance id: containers of the original state, which may still be
running, are never adopted and never removed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from claraedge import __version__, failpoints
from claraedge.appliance.lock import FileLock
from claraedge.appliance.state import prepare_state
from claraedge.config import load_config
from claraedge.daemon.backups import archive
from claraedge.errors import AlreadyRunningError, BackupError
from claraedge.fs import extras, files
from claraedge.fs.removal import remove
from claraedge.fs.room import need_room
from claraedge.ids import new_id
from claraedge.store import replacing, soundness
from claraedge.store.migrations import migrate, schema_version
from claraedge.store.salvage import without_triggers

#: Columns with absolute paths, which may be inside the state folder.
_PATHS = {
    "inbox_items": ("folder", "path", "original"),
    "inbox_seen": ("folder",),
    "deliveries": ("path",),
    "kept": ("path",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The result of a restore."""

    about: archive.About
    put_aside: Path | None
    """The folder that the previous state was moved to; None if there was none."""
    instance: str
    """The new instance id."""
    jobs: int
    unfinished: Sequence[str]
    """Ids of started jobs that continue."""
    lacking: int
    """The number of files that the database names and that are not in the backup."""


def restore(
    config: Path | None, given: Mapping[str, str], source: Path, *, replace: bool
) -> Restored:
    """Restores the state of a configuration from a backup. The daemon must not run.

    With `replace` the existing state is moved to its subfolder `replaced-DATE-TIME`; without it a
    state that is not empty is refused. After an interruption either the old or the new state is in
    place. Raises BackupError, AlreadyRunningError, StateFolderError, and OSError (NoRoomError).
    """
    state = load_config(config, os.environ, given).state_dir
    with archive.opened(source) as backup:
        if backup.about.form > archive.FORM or backup.about.schema > schema_version():
            raise BackupError(
                f"{source} was made by a newer claraedge ({backup.about.version}); install that"
                " version, and restore it with that"
            )
        prepare_state(state)
        with _locked(state):
            replacing.settle(state)
            if (there := replacing.occupied(state)) and not replace:
                raise BackupError(
                    f"{state} is not empty ({', '.join(there)}): choose another state folder"
                    " (--state-dir), or `--replace`, which moves what is there to a folder of its"
                    " own"
                )
            building = state / replacing.BUILDING
            aside = state / time.strftime("replaced-%Y%m%d-%H%M%S")
            try:
                need_room(state, sum(f.size for f in backup.manifest.files.values()), source=0)
                _extract(backup, building)
                failpoints.reach("restore: extracted")
                restored = _adopt(building, state, aside if there else None, backup)
                files.sync_tree(building)
                files.sync_folder(state)
                failpoints.reach("restore: built")
            except BaseException:
                remove(building)
                raise
            replacing.begin(state, aside.name)
            failpoints.reach("restore: recorded")
            replacing.settle(state)
    return restored


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    lock = FileLock(state / "claraedge.lock")
    try:
        lock.acquire()
    except AlreadyRunningError as error:
        raise AlreadyRunningError(
            f"{state} is the state of a daemon that runs ({error}); stop it first"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _extract(backup: archive.BackupReader, building: Path) -> None:
    """Extracts the contents of the manifest to a new folder, without a sync."""
    manifest = backup.manifest
    for name in ("payloads", "models", "spool", "jobs", "deployments"):
        files.new_folders(building / name)
    for path in manifest.folders:
        files.new_folders(_place(building, path))
    for number, path in enumerate(manifest.files):
        place = _place(building, path)
        files.new_folders(place.parent)
        backup.extract(path, place)
        failpoints.reach(f"restore: file {number}")
    for path, target in manifest.links.items():
        place = _place(building, path)
        files.new_folders(place.parent)
        extras.make_link(place, os.fsdecode(unquote_to_bytes(target)))
    for path, mode in reversed(list(manifest.folders.items())):
        extras.set_mode(_place(building, path), mode | 0o700)


def _place(building: Path, path: str) -> Path:
    relative = archive.unquoted(path)
    if os.fsdecode(relative.partition(b"/")[0]) not in replacing.PARTS:
        raise BackupError(f"the backup is damaged: it has a file {path!r}; use another backup")
    return building / os.fsdecode(relative)


def _adopt(
    building: Path, state: Path, aside: Path | None, backup: archive.BackupReader
) -> Restored:
    """Turns the extracted database into that of a new instance; returns the result to report."""
    path = building / archive.DATABASE
    instance, about = new_id(), backup.about
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        soundness.check_pages(connection, path)
        migrate(connection)
        with without_triggers(connection):
            _move_paths(connection, about.state, str(state))
        connection.execute("BEGIN")
        # Facts about the original machine: its mounts, its images, its event watchers.
        connection.execute("DELETE FROM facts")
        for key, value in (("instance", instance), ("version", __version__)):
            connection.execute("INSERT INTO facts (key, value) VALUES (?, ?)", (key, value))
        unfinished = _add_messages(connection, about)
        connection.execute("COMMIT")
        lacking = 0
        rows = "SELECT f.payload, f.blob FROM payload_files f JOIN payloads p ON p.id = f.payload"
        for payload, blob in connection.execute(f"{rows} WHERE p.deleted IS NULL"):
            name = b"payloads/%b/%b" % (payload.encode(), blob)
            lacking += archive.quoted(name) not in backup.manifest.files
        for (payload,) in connection.execute("SELECT id FROM payloads WHERE deleted IS NULL"):
            files.new_folders(building / "payloads" / payload / "blobs")
        (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
    return Restored(
        about=about,
        put_aside=aside,
        instance=instance,
        jobs=jobs,
        unfinished=unfinished,
        lacking=lacking,
    )


def _move_paths(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Changes absolute paths inside the original state folder to paths inside the new one."""
    for table, columns in _PATHS.items():
        for column in columns:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                f" WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )


def _add_messages(connection: sqlite3.Connection, about: archive.About) -> Sequence[str]:
    """Adds to each started, unfinished job a message about the restore; returns their ids."""
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about.created))
    text = (
        f"restored from a backup of {date}: what became of this job after that is not known here."
        " The job continues from there, and operators that ran begin again"
    )
    found = connection.execute(
        "SELECT id FROM jobs WHERE state < 3 AND queue_position IS NOT NULL ORDER BY sequence"
    ).fetchall()
    for (job,) in found:
        connection.execute(
            "INSERT INTO job_messages (job, position, time, text) SELECT ?,"
            " coalesce(max(position), -1) + 1, ?, ? FROM job_messages WHERE job = ?",
            (job, time.time(), text, job),
        )
    return [job for (job,) in found]
