"""`claraedge backup`: writes the state into one file, whether the daemon runs or not.

It opens the database as an additional reader and copies a consistent snapshot of it. Then it copies
the files that this snapshot names. These files are never modified, but the daemon may remove them
meanwhile: then a newer snapshot of the database is taken, which no longer names them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from claraedge import __version__, failpoints
from claraedge.appliance.lock import FileLock
from claraedge.appliance.state import prepare_state
from claraedge.config import Config, load_config
from claraedge.daemon.backups import archive
from claraedge.errors import AlreadyRunningError, BackupError, ClaraedgeError, StateFolderError
from claraedge.fs import files, walking
from claraedge.fs.removal import remove
from claraedge.fs.room import need_room
from claraedge.fs.walking import placed, walk
from claraedge.store import copies, replacing, soundness
from claraedge.store.migrations import refuse_newer, schema_version

#: The number of snapshots that are taken at most, if files vanish while they are copied.
_PASSES = 5
#: Seconds to wait for a database lock of another process.
_PATIENCE = 60.0
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_BLOBS = (
    "SELECT f.payload, f.blob, f.size FROM payload_files f JOIN payloads p ON p.id = f.payload"
    " WHERE p.deleted IS NULL"
)
_SPOOLED = "SELECT id FROM inbox_items WHERE state IN ('claimed', 'parked', 'submitted')"
#: Outputs that operators of unfinished jobs may still read; copied with empty folders and links.
_OUTPUTS = (
    "SELECT j.payload, o.name, o.attempt FROM jobs j JOIN operators o ON o.job = j.id"
    " WHERE j.state < 3 AND o.status = 3"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupResult:
    """The result of a backup."""

    size: int
    """The size of the backup file in bytes."""
    files: int
    jobs: int
    unfinished: int
    """The number of jobs that had not stopped."""
    missing: int
    """The number of files that the database names and that do not exist."""


@dataclass(slots=True)
class _Taken:
    """The entries written to the archive for one folder, or for all files named by single rows."""

    files: dict[str, archive.BackupFile] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """The files and folders that one snapshot of the database names, relative to the state."""

    blobs: Mapping[bytes, int]
    """Files of payloads, with their sizes in bytes."""
    trees: frozenset[str]
    """Folders that are copied with their contents if they exist."""
    versions: frozenset[str]
    """Folders of models, which must exist."""


def backup(
    config: Path | None, given: Mapping[str, str], target: Path, *, payloads: bool
) -> BackupResult:
    """Makes a backup of the state of a configuration; `target` appears only when it is complete.

    Raises BackupError if `target` exists or another backup is running, StateFolderError if the
    state cannot be read, DamagedStateError if it is damaged, and OSError (NoRoomError) if a disk
    has no room.
    """
    settings = load_config(config, os.environ, given)
    state = settings.state_dir
    database = state / archive.DATABASE
    if not database.exists():
        raise StateFolderError(f"there is no state in {state}: name its folder (--state-dir)")
    prepare_state(state)
    if os.path.lexists(target):
        raise BackupError(f"{target} is there already; remove it, or choose another name")
    with _locked(state):
        replacing.refuse_unsettled(state)
        refuse_newer(database)
        building = target.with_name(f".{target.name}.part")
        copy = state / ".backup.tmp"
        for old in (building, copy):  # left by a crash
            remove(old)
        copy.mkdir(0o700)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(building, flags, 0o600), "w+b") as file:
                made = _Backup(settings, copy / archive.DATABASE, payloads).write(
                    file, target.parent
                )
            failpoints.reach("backup: whole")
            files.rename_new(building, target)
            files.sync_folder(target.parent)
        finally:
            remove(building)
            remove(copy)
    return made


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    lock = FileLock(state / "claraedge.backup.lock")
    try:
        lock.acquire()
    except AlreadyRunningError as error:
        raise BackupError(f"another backup of {state} is being made: wait for its end") from error
    try:
        yield
    finally:
        lock.release()


class _Backup:
    """A backup in progress."""

    def __init__(self, config: Config, copy: Path, payloads: bool) -> None:
        self._config = config
        self._state = config.state_dir
        self._database = config.state_dir / archive.DATABASE
        self._copy = copy
        self._payloads = payloads
        self._single = _Taken()
        self._trees: dict[str, _Taken] = {}
        self._missing = 0

    def write(self, file: IO[bytes], folder: Path) -> BackupResult:
        """Writes the whole backup and syncs it. `file` must be empty; `folder` contains it."""
        writer = archive.BackupWriter(file)
        for number in range(_PASSES):
            self._take_database()
            failpoints.reach("backup: database")
            with _opened(self._copy) as copy:
                named = self._named(copy)
                if not number:
                    need_room(folder, self._size(named), source=0)
                    writer.add_text(archive.ABOUT, self._about(copy))
                self._missing = 0
                self._take_files(writer, named)
                failpoints.reach("backup: files")
                if not self._missing or number == _PASSES - 1:
                    return self._finish(writer, file, named, copy)
        raise AssertionError("the last pass returns")

    def _finish(
        self, writer: archive.BackupWriter, file: IO[bytes], named: _Named, copy: sqlite3.Connection
    ) -> BackupResult:
        path = os.fsencode(archive.DATABASE)
        blobs = map(archive.quoted, named.blobs)
        whole = _Taken({q: self._single.files[q] for q in blobs if q in self._single.files})
        for root in sorted(named.trees | named.versions):
            if (taken := self._trees.get(root)) is not None:
                whole.files.update(taken.files)
                whole.folders.update(taken.folders)
                whole.links.update(taken.links)
        descriptor = os.open(self._copy, _FILE)
        try:
            whole.files[archive.quoted(path)] = writer.add(path, descriptor)
        finally:
            os.close(descriptor)
        writer.add_text(
            archive.MANIFEST,
            archive.Manifest(
                files=whole.files,
                folders=whole.folders,
                links=whole.links,
                missing=self._missing,
            ),
        )
        writer.finish()
        counts = "SELECT count(*), coalesce(sum(state < 3), 0) FROM jobs"
        jobs, unfinished = copy.execute(counts).fetchone()
        return BackupResult(
            size=os.fstat(file.fileno()).st_size,
            files=len(whole.files),
            jobs=jobs,
            unfinished=unfinished,
            missing=self._missing,
        )

    def _take_database(self) -> None:
        """Copies a snapshot of the database and checks its integrity."""
        remove(self._copy)
        try:
            uri = f"{self._database.absolute().as_uri()}?mode=ro"
            reader = sqlite3.connect(uri, uri=True, timeout=_PATIENCE)
            with contextlib.closing(reader):
                copies.write(reader, self._copy)
            with _opened(self._copy) as copy:
                soundness.check_pages(copy, self._database)
                if copy.execute("PRAGMA user_version").fetchone() == (schema_version(),):
                    soundness.check_values(copy, self._database)
        except sqlite3.Error as error:
            known = soundness.explain(error, self._database)
            if isinstance(known, ClaraedgeError):
                raise known from error
            raise StateFolderError(
                f"{self._database} cannot be read ({error}); check its disk and its permissions"
            ) from error

    def _named(self, copy: sqlite3.Connection) -> _Named:
        versions = {f"models/{m}/{v}" for m, v in copy.execute("SELECT id, generation FROM models")}
        trees = set()
        if self._config.pipelines_dir == self._state / "pipelines.d":
            trees.add("pipelines.d")
        blobs: dict[bytes, int] = {}
        if self._payloads:
            blobs = {
                b"payloads/%b/%b" % (payload.encode(), blob): size
                for payload, blob, size in copy.execute(_BLOBS)
            }
            # An entry is removed once its copy is complete: so that comes last, as they are sorted.
            ends = ("", ".mount", ".own")
            trees |= {f"spool/{item}{end}" for (item,) in copy.execute(_SPOOLED) for end in ends}
            trees |= {f"jobs/{job}" for (job,) in copy.execute("SELECT id FROM jobs")}
            for payload, operator, attempt in copy.execute(_OUTPUTS):
                output = f"payloads/{payload}/operators/{operator}/{attempt}"
                trees |= {output, f"{output}.values"}
        return _Named(blobs=blobs, trees=frozenset(trees), versions=frozenset(versions))

    def _about(self, copy: sqlite3.Connection) -> archive.About:
        row = copy.execute("SELECT value FROM facts WHERE key = 'instance'").fetchone()
        return archive.About(
            version=__version__,
            schema=copy.execute("PRAGMA user_version").fetchone()[0],
            instance="" if row is None else row[0],
            created=time.time(),
            state=os.fsdecode(self._state),
            payloads=self._payloads,
        )

    def _size(self, named: _Named) -> int:
        trees = (walking.size(self._state / tree) for tree in named.trees | named.versions)
        return copies.size_of(self._copy) + sum(named.blobs.values()) + sum(trees)

    def _take_files(self, writer: archive.BackupWriter, named: _Named) -> None:
        for path, size in named.blobs.items():
            if archive.quoted(path) not in self._single.files:
                self._take_single(writer, path, size)
        for root in sorted(named.trees | named.versions):
            # The contents of these may have changed between the snapshots.
            if root not in self._trees or root.startswith(("spool/", "jobs/")):
                self._take_tree(writer, root, needed=root in named.versions)

    def _take_single(self, writer: archive.BackupWriter, path: bytes, size: int) -> None:
        try:
            with placed(self._state, path) as place:
                descriptor = os.open(place, _FILE)
                try:
                    found = os.fstat(descriptor)
                    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                        self._missing += 1
                        return
                    self._single.files[archive.quoted(path)] = writer.add(path, descriptor)
                finally:
                    os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError, archive.ChangedFileError):
            self._missing += 1

    def _take_tree(self, writer: archive.BackupWriter, root: str, *, needed: bool) -> None:
        """Adds a folder with all its contents; entries that vanish meanwhile are left out."""
        taken = self._trees.get(root, _Taken())
        try:
            for entry in walk(self._state / root):
                path = os.fsencode(root) + (b"/" + entry.path if entry.path else b"")
                name = archive.quoted(path)
                if entry.is_folder:
                    taken.folders[name] = stat.S_IMODE(entry.status.st_mode)
                elif stat.S_ISLNK(entry.status.st_mode):
                    target = os.readlink(entry.name, dir_fd=entry.folder)
                    taken.links[name] = archive.quoted(target)
                elif entry.is_file and name not in self._single.files and name not in taken.files:
                    with contextlib.suppress(FileNotFoundError, archive.ChangedFileError):
                        descriptor = os.open(entry.name, _FILE, dir_fd=entry.folder)
                        try:
                            taken.files[name] = writer.add(path, descriptor)
                        finally:
                            os.close(descriptor)
        except FileNotFoundError:
            self._missing += needed
            return
        self._trees[root] = taken


@contextlib.contextmanager
def _opened(copy: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection
