"""Checks that the files of the database are sound, and explains errors of SQLite and of the disk.

SQLite detects a damaged page when it reads it, which may be after days of wrong answers. So the
whole file is checked before it is used: 100 MB need about a second.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from claraedge.appliance.state import broken_disk, user_name
from claraedge.errors import (
    BrokenDiskError,
    ClaraedgeError,
    DamagedStateError,
    StateFolderError,
    StorageFullError,
)

#: Free bytes that SQLite needs to create its shared-memory file.
_LEAST_FREE = 256 * 1024

# --- offsets in the files, from sqlite.org/fileformat2.html ------------------------------------
_FREE_AT = 32  # offset in the header of the number of the first page of the list of free pages
_LOCKED_AT = 1 << 30  # the page at this byte is never used
_WAL_HEADER, _FRAME_HEADER = 32, 24
_WAL_MAGIC = 0x377F0682  # the lowest bit is the byte order of the checksums


#: What Python's module raises for a damaged file. It decodes the messages of SQLite, which quote
#: names of the file, and those may be no text any more.
FAILURES = (sqlite3.Error, UnicodeDecodeError)


def damaged(path: Path, what: str) -> DamagedStateError:
    """Returns the error for a damaged database, with what to do."""
    return DamagedStateError(
        f"{path} is damaged: {what}. Nothing was changed in it. A power cut or a failing disk does"
        " that: `sudo dmesg` shows errors of the disk. Stop the service, then run `claraedge repair"
        f" state --state-dir {path.parent}` as user {user_name(os.geteuid())}: it keeps what can be"
        " read of it, and a copy of the damaged file (docs/state.md)"
    )


def explain(error: BaseException, path: Path) -> ClaraedgeError | None:
    """Returns what an error means for the state as a whole; None: it concerns only its caller."""
    if isinstance(error, sqlite3.Error):
        return _explain_sqlite(error, path)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path)
    return None


def _explain_sqlite(error: sqlite3.Error, path: Path) -> ClaraedgeError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python's module: texts are always written as UTF-8
        return damaged(path, str(error)) if "Could not decode to UTF-8" in str(error) else None
    match code & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_FORMAT:
            return damaged(path, str(error))
        case sqlite3.SQLITE_FULL:
            return _full(path)
        # A full disk causes one of these where the files next to the database cannot be created.
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if _no_space(path):
            return _full(path)
        case sqlite3.SQLITE_IOERR if code != sqlite3.SQLITE_IOERR_NOMEM:
            return _broken(path, str(error))
        case sqlite3.SQLITE_READONLY if broken_disk(path.parent):
            return _broken(path, str(error))
    return None


def _full(path: Path) -> StorageFullError:
    return StorageFullError(
        f"{path}: the disk is full; free some space there, then work continues by itself"
    )


def _broken(path: Path, what: str) -> BrokenDiskError:
    return BrokenDiskError(
        broken_disk(path.parent)
        or f"{path} cannot be read or written ({what}): `sudo dmesg` says why; check the disk of"
        f" {path.parent}, and start claraedge again"
    )


def _no_space(path: Path) -> bool:
    try:
        free = os.statvfs(path.parent)
        if free.f_bavail * free.f_frsize < _LEAST_FREE:
            return True
        # a quota becomes visible only by writing
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:  # the disk is gone, which is no lack of space
        return False
    try:
        os.write(descriptor, bytes(_LEAST_FREE))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    finally:
        os.close(descriptor)
    return False


#: Table -> a condition that is true for no row that was ever written.
IMPOSSIBLE: Mapping[str, str] = {
    "facts": "instr(CAST(value AS BLOB), X'00') OR (key = 'instance' AND value GLOB '*[^0-9a-f]*')"
    " OR (substr(value, 1, 1) IN ('{', '[') AND NOT json_valid(value))",
    "definitions": "NOT json_valid(files)",
    "jobs": "state NOT BETWEEN 1 AND 3 OR status NOT BETWEEN 1 AND 5"
    " OR priority NOT BETWEEN 1 AND 4 OR NOT json_valid(coalesce(snapshot, '{}'))"
    " OR NOT json_valid(coalesce(variables, '{}'))",
    "operators": "status NOT BETWEEN 1 AND 4",
    "deliveries": "NOT json_valid(outputs)",
    "inbox_items": "NOT json_valid(deliver) OR NOT json_valid(options)",
    "payloads": "type NOT IN (1, 2)",
    "events": "NOT json_valid(body)",
}

# --- before it is opened -----------------------------------------------------------------------


def refuse_unusable(path: Path) -> None:
    """Raises StateFolderError where a file of the database is no regular file, or not ours.

    Sets the mode of our files, so that only this user can read and write them.
    """
    for file in (path, wal(path), path.with_name(f"{path.name}-shm")):
        try:
            found = file.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode):
            raise StateFolderError(
                f"{file} is no file, and the database is kept there; move it elsewhere, and put"
                " the database back if somebody has moved that"
            )
        if found.st_uid != os.geteuid():
            ours = user_name(os.geteuid())
            raise StateFolderError(
                f"{file} belongs to user {user_name(found.st_uid)}, and claraedge runs as {ours};"
                f" `chown -h {ours} {file}` as root gives it back"
            )
        file.chmod(0o600)


def refuse_lost(path: Path) -> None:
    """Raises DamagedStateError where the database is missing, but files that it knew exist.

    A new database would not know these files.
    """
    if (path.exists() and path.stat().st_size) or _size(wal(path)):
        return
    for name in ("payloads", "models"):
        folder = path.parent / name
        with contextlib.suppress(FileNotFoundError):
            found = [entry for entry in os.scandir(folder) if entry.name != "staging"]
            if found:
                state = "is empty" if path.exists() else "is not there"
                raise DamagedStateError(
                    f"the database {path} {state}, and {folder} has {len(found)} entries that it"
                    " knew. If somebody has moved it, put it back, with the files next to it that"
                    f" begin with {path.name}. If it is lost, `claraedge repair state --state-dir"
                    f" {path.parent}`, run as user {user_name(os.geteuid())}, puts what it knew"
                    f" into {path.parent}/damaged-DATE/unknown and begins a new one (docs/state.md)"
                )


def wal(path: Path) -> Path:
    """Returns the path of the write-ahead log, with the changes that are not in the file yet."""
    return path.with_name(f"{path.name}-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# --- while it is open --------------------------------------------------------------------------


def check(connection: sqlite3.Connection, path: Path, open_files: contextlib.ExitStack) -> None:
    """Raises DamagedStateError where any page of the database is damaged. Nobody else may use it.

    Afterwards, all changes are in the file itself, if the disk has enough space. Errors of SQLite
    are passed on. `open_files` collects files, and has to be closed after the connection: a process
    that closes a file loses all its locks on it, also those of SQLite.
    Source: sqlite.org/howtocorrupt.html, "POSIX advisory locks canceled".
    """
    check_pages(connection, path)
    if not _size(path):
        return
    if _size(wal(path)):
        log = open_files.enter_context(wal(path).open("rb"))
        if lost := lost_commits(log.fileno(), _whole_frames(path, open_files)):
            raise damaged(wal(path), f"of what was recorded last, {lost} changes cannot be read")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            return  # the changes stay in the log, which was checked: no reason not to start
        raise
    if (page := zeroed_page(open_files.enter_context(path.open("rb")))) is not None:
        raise damaged(path, f"page {page} holds nothing but zeros")


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Raises DamagedStateError where SQLite finds damage, or a row refers to a missing one.

    `path`: the database that the message names.
    """
    (first,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if first != "ok":
        raise damaged(path, " ".join(first.replace("*** in database main ***", "").split()))
    missing = connection.execute("PRAGMA foreign_key_check").fetchone()
    if missing is not None:
        raise damaged(path, f"a row of {missing[0]} belongs to one of {missing[2]} that is missing")


def _whole_frames(path: Path, open_files: contextlib.ExitStack) -> int:
    """Returns the number of valid pages in the log; SQLite does not read beyond them.

    Source: sqlite.org/walformat.html 2.1, `mxFrame` in the header of the index of the log.
    """
    index = open_files.enter_context(path.with_name(f"{path.name}-shm").open("rb"))
    (frames,) = struct.unpack("=I", os.pread(index.fileno(), 4, 16))
    return int(frames)


def check_values(connection: sqlite3.Connection, path: Path) -> None:
    """Raises DamagedStateError where a row has values that are never written.

    The schema must be the current one. This finds damage inside a page whose structure is valid.
    """
    for table, condition in IMPOSSIBLE.items():
        if connection.execute(f"SELECT 1 FROM {table} WHERE {condition} LIMIT 1").fetchone():
            raise damaged(path, f"a row of {table} has values that are none")


def lost_commits(log: int, whole: int) -> int:
    """Returns the number of commits in a log that are lost behind its first `whole` pages.

    Each commit is synced before the next one is written, so that a power cut leaves at most one
    incomplete commit, which counts as none lost. Two or more mean that a page before them was
    damaged later.
    """
    commits = sum(_commits_after(log, whole))
    return commits if commits > 1 else 0


def _commits_after(descriptor: int, whole: int) -> Iterator[bool]:
    header = os.pread(descriptor, _WAL_HEADER, 0)
    if len(header) < _WAL_HEADER:
        return
    magic, _, size, _, *salt = struct.unpack(">6I", header[:24])
    sound = magic & ~1 == _WAL_MAGIC
    if not sound:  # the salt in the frames shows which ones belong together
        size = 4096
        salt = list(struct.unpack(">2I", os.pread(descriptor, 8, _WAL_HEADER + 8).ljust(8, b"\0")))
    at = _WAL_HEADER + whole * (_FRAME_HEADER + size)
    while len(frame := os.pread(descriptor, _FRAME_HEADER, at)) == _FRAME_HEADER:
        _, pages, *of = struct.unpack(">4I", frame[:16])
        if of == salt and any(salt):
            yield pages > 0
        at += _FRAME_HEADER + size


def zeroed_page(file: BinaryIO) -> int | None:
    """Returns the number of a page in use that contains only zeros, or None.

    No valid page is like that. SQLite does not detect such a page where only text is expected.
    """
    header = file.read(100)
    (size,) = struct.unpack_from(">H", header, 16)
    size = 65536 if size == 1 else size
    file.seek(0)
    empty, number, nothing = set(), 0, bytes(size)
    while block := file.read(256 * size):
        for start in range(0, len(block), size):
            number += 1
            if block[start : start + size] == nothing:
                empty.add(number)
    empty.discard(_LOCKED_AT // size + 1)
    (trunk,) = struct.unpack_from(">I", header, _FREE_AT)
    while trunk and empty:
        empty.discard(trunk)
        file.seek((trunk - 1) * size)
        trunk, count, *free = struct.unpack(f">{size // 4}I", file.read(size))
        empty -= set(free[:count])
    return min(empty, default=None)
