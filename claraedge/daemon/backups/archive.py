"""The format of a backup: one tar file, which `tar` can read as well.

    claraedge-backup.json     description: version, time and state of the backup
    payloads/ID/blobs/...     files of the state, under their paths in it
    claraedge.db              the database
    manifest.json             sizes and SHA-256 of all valid files, folders and links

The manifest comes last, so that a truncated backup has none. Paths in the manifest are
percent-encoded as in URLs, because file names are bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import BackupError

ABOUT = "claraedge-backup.json"
MANIFEST = "manifest.json"
DATABASE = "claraedge.db"
FORM = 1

_STEP = 1 << 20
T = TypeVar("T")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a backup."""

    form: int = FORM
    version: str
    schema: int
    instance: str
    created: float
    """Unix seconds."""
    state: str
    """The path of the state folder."""
    payloads: bool
    """Whether it contains files of payloads, dropped files that are not yet jobs, and logs."""


class BackupFile(msgspec.Struct, frozen=True):
    """One file of the backup, with its permission bits as `mode`."""

    size: int
    """Bytes."""
    sha256: str
    mode: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The valid contents of a backup, by `quoted` path."""

    files: Mapping[str, BackupFile]
    folders: Mapping[str, int]
    """Folders with their modes, each after its parent folder."""
    links: Mapping[str, str]
    """Symbolic links with their targets, quoted."""
    missing: int
    """The number of files that the database names and that did not exist."""


def quoted(path: bytes) -> str:
    """Returns a path in percent-encoding."""
    return quote_from_bytes(path)


def unquoted(path: str) -> bytes:
    """Decodes a `quoted` path. Raises BackupError if it leads out of the state."""
    found = unquote_to_bytes(path)
    if any(part in (b"", b".", b"..") for part in found.split(b"/")):
        raise BackupError(f"the backup is damaged: it has a file {path!r}; use another backup")
    return found


class ChangedFileError(Exception):
    """A file became shorter while it was read; the archive contains no part of it."""


class BackupWriter:
    """Writes a backup into an open file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tar = tarfile.open(  # noqa: SIM115 - closed by `finish`
            fileobj=file,
            mode="w",
            format=tarfile.GNU_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def add(self, path: bytes, descriptor: int) -> BackupFile:
        """Copies an open file of the state into the archive.

        Raises ChangedFileError if it becomes shorter meanwhile.
        """
        status = os.fstat(descriptor)
        info = tarfile.TarInfo(os.fsdecode(path))
        info.size, info.mode, info.mtime = status.st_size, status.st_mode & 0o777, status.st_mtime
        reader = _HashingReader(os.fdopen(os.dup(descriptor), "rb"))
        self._put(info, reader)
        return BackupFile(status.st_size, reader.digest.hexdigest(), info.mode)

    def add_text(self, name: str, value: object) -> None:
        """Adds a file that contains a value as JSON."""
        text = msgspec.json.encode(value)
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(text), 0o600, int(time.time())
        self._put(info, io.BytesIO(text))

    def finish(self) -> None:
        """Completes the archive and syncs it to disk."""
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())

    def _put(self, info: tarfile.TarInfo, reader: _HashingReader | IO[bytes]) -> None:
        start = self._tar.offset
        with contextlib.closing(reader):
            try:
                self._tar.addfile(info, reader)  # type: ignore[arg-type]
            except OSError as error:
                if error.errno is not None:  # an error of the disk; a short read has no errno
                    raise
                self._file.seek(start)
                self._file.truncate()
                self._tar.offset = start
                raise ChangedFileError(info.name) from error
        self._tar.members = []  # type: ignore[attr-defined] # otherwise the list grows with each


class _HashingReader:
    """Reads a file and computes its SHA-256 at the same time."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block

    def close(self) -> None:
        self._file.close()


class BackupReader:
    """Reads a backup. Use `opened` to open one."""

    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self._path = path
        self._tar = tar
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self.about = self._json(tar.next(), ABOUT, About)
            last = None
            for member in tar:
                self._members[quoted(os.fsencode(member.name))] = last = member
            self.manifest = self._json(last, MANIFEST, Manifest)
        except tarfile.TarError as error:
            raise self._damaged("it ends in the middle") from error

    def _json(self, member: tarfile.TarInfo | None, name: str, kind: type[T]) -> T:
        if member is None or member.name != name:
            what = "it is no backup of claraedge" if name == ABOUT else "it ends in the middle"
            raise self._damaged(what)
        file = self._tar.extractfile(member)
        try:
            return decode_json(b"" if file is None else file.read(), kind)
        except msgspec.MsgspecError as error:
            raise self._damaged(f"its {name} cannot be read") from error

    def extract(self, path: str, target: Path) -> None:
        """Extracts one file of the manifest to a new file. Raises BackupError if it is damaged."""
        stored, member = self.manifest.files[path], self._members.get(path)
        file = None if member is None else self._tar.extractfile(member)
        if file is None:
            raise self._damaged(f"{path} is missing")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        digest, size = hashlib.sha256(), 0
        with file, os.fdopen(os.open(target, flags, 0o600), "wb") as out:
            try:
                while block := file.read(_STEP):
                    digest.update(block)
                    size += out.write(block)
            except tarfile.TarError as error:
                raise self._damaged(f"{path} ends in the middle") from error
            os.fchmod(out.fileno(), stored.mode | 0o400)
        if (size, digest.hexdigest()) != (stored.size, stored.sha256):
            raise self._damaged(f"{path} holds other bytes than it did")

    def _damaged(self, what: str) -> BackupError:
        return BackupError(f"{self._path} cannot be restored: {what}; use another backup")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BackupReader]:
    """Opens a backup for reading. Raises BackupError if it is not a backup or not complete."""
    try:
        tar = tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except tarfile.TarError as error:
        raise BackupError(f"{path} is no backup of claraedge; use another file") from error
    with tar:
        yield BackupReader(path, tar)
