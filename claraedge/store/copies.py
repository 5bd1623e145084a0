"""Complete copies of the database: for backups, and before another version changes it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import time
from pathlib import Path

from claraedge import __version__
from claraedge.fs import files
from claraedge.fs.room import need_room
from claraedge.store.migrations import schema_version, steps_taken

_log = logging.getLogger(__name__)

NAME = "copies"
#: Number of copies that are kept, each of another version or schema.
_KEPT = 2
_COPY = re.compile(r"(?P<label>claraedge-.+-schema\d+)-\d{8}-\d{6}\.db")


def write(source: sqlite3.Connection, target: Path) -> None:
    """Copies everything committed to a new file that only this user can read.

    The content is durable, but its name in the folder is not yet. The copy is a single file,
    without a log next to it. Raises NoRoomError before anything is written, and errors of SQLite
    and of the disk; the new file is removed then.
    """
    (name,) = (row[2] for row in source.execute("PRAGMA database_list") if row[1] == "main")
    need_room(target.parent, size_of(Path(name)), source=0)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with contextlib.closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        files.sync_file(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def size_of(database: Path) -> int:
    """Returns the most bytes that a copy of a database can use."""
    size = 0
    for file in (database, database.with_name(f"{database.name}-wal")):
        with contextlib.suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def before_change(connection: sqlite3.Connection, path: Path) -> None:
    """Copies the database if another version wrote it last, or it has another schema.

    The copies lie in `copies` of the state, named by version, schema and date. Raises as `write`
    does.
    """
    steps = steps_taken(connection)
    written_by = _version(connection) if steps else __version__
    if not steps or (written_by == __version__ and schema_version() == steps):
        return
    folder = path.parent / NAME
    files.make_folders(folder)
    for old in folder.glob(".*.tmp"):  # left by a crash
        old.unlink()
    label = "claraedge-" + re.sub(r"[^\w.+]", "_", written_by) + f"-schema{steps}"
    target = folder / f"{label}-{time.strftime('%Y%m%d-%H%M%S')}.db"
    building = folder / f".{target.name}.tmp"
    write(connection, building)
    building.rename(target)
    files.sync_folder(folder)
    _log.info("the database was copied to %s before version %s changes it", target, __version__)
    _remove_old(folder, target)


def note_version(connection: sqlite3.Connection) -> None:
    """Records that this version has opened the database last."""
    if _version(connection) != __version__:
        connection.execute(
            "INSERT INTO facts (key, value) VALUES ('version', ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (__version__,),
        )


def _version(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT value FROM facts WHERE key = 'version'").fetchone()
    return "earlier" if row is None else str(row[0])


def _remove_old(folder: Path, made: Path) -> None:
    """Removes old copies: keeps the newest of each version and schema, and of these the newest.

    `made` counts as the newest, whatever the clock says.
    """
    newest_first = sorted(
        folder.iterdir(), key=lambda path: (path == made, path.stat().st_mtime_ns), reverse=True
    )
    labels: list[str] = []
    for path in newest_first:
        if (copy := _COPY.fullmatch(path.name)) is None:
            continue
        if copy["label"] in labels or len(labels) == _KEPT:
            path.unlink()
        else:
            labels.append(copy["label"])
