"""Unpacking a model's archive into a fresh folder. Blocking; call it in a cancellable thread.

An archive comes from anybody: names and sizes are checked before a byte is unpacked, the sizes
again while it is, and memory stays within a few MiB whatever the archive claims.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from claraedge import files
from claraedge.blocking import CancelFlag
from claraedge.errors import InvalidModelError, StorageFullError
from claraedge.models.config import MAX_CONFIG, model_name
from claraedge.models.layout import CONFIG, Entry, Layout, plan
from claraedge.models.model import check_name

_STEP = 256 * 1024
#: Most that is read at once; zipfile takes an archive's whole directory, as large as that says.
_MAX_READ = 2 * 1024 * 1024
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
#: What zipfile and zlib raise for bytes that are no archive.
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class _Bounded(io.BufferedReader):
    """A file that reads no more at once than an honest archive needs."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = _MAX_READ + 1
        if size > _MAX_READ and self.peek(1):
            size = min(size, os.fstat(self.fileno()).st_size - self.tell())
            if size > _MAX_READ:
                raise InvalidModelError(
                    f"the archive's directory is larger than {_MAX_READ} bytes; a model has fewer"
                    " files, or shorter names"
                )
        return super().read(size)

    def seek(self, target: int, whence: int = 0, /) -> int:
        if whence == 0 and not 0 <= target < 2**63:
            raise zipfile.BadZipFile("an offset lies outside the archive")
        return super().seek(target, whence)


def unpack(flag: CancelFlag, source: Path, target: Path, wanted: str) -> str:
    """Unpacks `source` into `target`/<name>, durable and readable for all; returns the name.

    `target` is made. `wanted` is the name that the upload gave, or empty. Raises InvalidModelError
    with every problem, StorageFullError where it cannot fit, CancelledWorkError.
    """
    if wanted:
        check_name(wanted)
    try:
        with _Bounded(io.FileIO(source)) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            layout = plan([_entry(info) for info in entries])
            name = _name(archive, entries, layout, wanted)
            _refuse_too_large(sum(info.file_size for info in entries), target.parent)
            _write(flag, archive, entries, layout, target, name)
    except _BROKEN as error:
        if isinstance(error, OSError):  # io.UnsupportedOperation is a ValueError as well
            raise
        raise InvalidModelError(
            f"the data are no zip archive that can be read whole ({error}); send the model's folder"
            " as one zip archive"
        ) from error
    return name


def _entry(info: zipfile.ZipInfo) -> Entry:
    return Entry(
        name=_text(info),
        size=info.file_size,
        packed=info.compress_size,
        mode=info.external_attr >> 16,
        method=info.compress_type,
        encrypted=bool(info.flag_bits & _ENCRYPTED_FLAG),
    )


def _text(info: zipfile.ZipInfo) -> str | None:
    """The name as it is written: `filename` ends at a NUL. Unflagged names often are UTF-8."""
    name = info.orig_filename
    if info.flag_bits & _UTF8_FLAG or name.isascii():
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return None


def _name(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], layout: Layout, wanted: str
) -> str:
    """The model's name: folder, configuration and upload must agree."""
    info = entries[layout.files[CONFIG]]
    if info.file_size > MAX_CONFIG:
        raise InvalidModelError(f"{CONFIG} is larger than {MAX_CONFIG} bytes")
    with archive.open(info) as file:
        configured = model_name(file.read(MAX_CONFIG + 1))
    name = layout.name or wanted or configured
    if configured is None or name is None:
        raise InvalidModelError(f'{CONFIG} does not say which model it is: add `name: "..."` to it')
    check_name(name)
    if wanted not in ("", name):
        raise InvalidModelError(
            f"the upload is named {wanted!r}, the model's folder {name!r}; they must be equal"
        )
    if configured != name:
        raise InvalidModelError(
            f"{CONFIG} has the name {configured!r}, the model {name!r}; they must be equal"
        )
    return name


def _refuse_too_large(size: int, folder: Path) -> None:
    free = os.statvfs(folder)
    available = free.f_bavail * free.f_frsize
    if size > available:
        raise StorageFullError(
            f"the model would need {size} bytes on the disk, {available} are free; free some space"
            " and try again"
        )


def _write(
    flag: CancelFlag,
    archive: zipfile.ZipFile,
    entries: list[zipfile.ZipInfo],
    layout: Layout,
    target: Path,
    name: str,
) -> None:
    root = target / name
    made = [target, root, *(root / folder for folder in layout.folders)]
    for folder in made:
        flag.check()
        folder.mkdir(mode=0o700)
        folder.chmod(0o755)  # whatever our umask is: an inference server runs as another user
    for path, number in layout.files.items():
        info = entries[number]
        runs = (info.external_attr >> 16) & 0o111
        with archive.open(info) as packed:
            _copy(flag, packed, root / path, info.file_size, 0o755 if runs else 0o644)
    for folder in reversed(made):
        flag.check()
        files.sync_folder(folder)


def _copy(flag: CancelFlag, packed: IO[bytes], path: Path, size: int, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        while data := packed.read(_STEP):
            flag.check()
            file.write(data)
        if file.tell() != size:
            raise InvalidModelError(
                f"{path.name!r} unpacks to {file.tell()} bytes, the archive says {size}; it is"
                " damaged"
            )
        file.flush()
        os.fchmod(file.fileno(), mode)
        flag.check()
        os.fsync(file.fileno())
