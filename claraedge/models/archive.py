"""Unpacks a model's archive into a new folder. Blocks; call it in a cancellable thread.

An archive may come from anybody: names and sizes are checked before a byte is unpacked, sizes again
while unpacking, and memory stays within a few MiB whatever the archive claims.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.errors import InvalidModelError, StorageFullError
from claraedge.formats import filetypes
from claraedge.formats.filenames import DEFAULT, Names
from claraedge.formats.modelfiles import note
from claraedge.fs import files
from claraedge.fs.syncing import sync
from claraedge.models import content
from claraedge.models.config import MAX_CONFIG, ModelConfig, read_config
from claraedge.models.layout import CONFIG, Layout, plan
from claraedge.models.model import check_name
from claraedge.models.reading import ArchiveFile, Reader, entry, opened, refuse_other

_STEP = 256 * 1024
#: Bytes kept of each piece: a name that begins in one piece may end in the next.
_OVERLAP = 256
#: What zipfile and the unpackers raise for data that is no archive.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """The result of unpacking an archive."""

    name: str
    """The name of the model."""
    notes: tuple[str, ...]
    """Texts for the answer to the upload."""


def unpack(
    flag: CancelFlag, source: Path, target: Path, wanted: str, names: Names = DEFAULT
) -> Unpacked:
    """Unpacks `source` into `target`/<name>, durable and readable for all.

    `target` is created. `wanted` is the name that the upload gave, or empty. Raises
    InvalidModelError with every problem, StorageFullError where it does not fit,
    CancelledWorkError.
    """
    if wanted:
        check_name(wanted)
    try:
        with ArchiveFile(source) as file:
            refuse_other(file)
            with zipfile.ZipFile(file) as archive:
                return _unpack(flag, archive, target, wanted, names)
    except _BROKEN as error:
        if isinstance(error, OSError):  # io.UnsupportedOperation is a ValueError as well
            raise
        raise InvalidModelError(
            f"the zip archive is damaged and cannot be read whole ({error}): copy or download it"
            " again, or make it again from the model's folder"
        ) from error


def _unpack(
    flag: CancelFlag, archive: zipfile.ZipFile, target: Path, wanted: str, names: Names
) -> Unpacked:
    entries = archive.infolist()
    layout = plan([entry(info) for info in entries], names)
    infos = {path: entries[number] for path, number in layout.files.items()}
    config = _config(archive, infos[CONFIG])
    name = _name(config, layout, wanted)
    heads = {}
    for path, info in infos.items():
        flag.check()
        with opened(archive, info) as file:
            heads[path] = file.read(filetypes.HEAD)
    content.check(config, layout, {path: info.file_size for path, info in infos.items()}, heads)
    _refuse_too_large(sum(info.file_size for info in entries), target.parent)
    _write(flag, archive, infos, layout, target / name)
    return Unpacked(name=name, notes=note(layout.left_out))


def _config(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> ModelConfig:
    if info.file_size > MAX_CONFIG:
        raise InvalidModelError(
            f"{CONFIG} is larger than {MAX_CONFIG} bytes; put the model's configuration there, and"
            " nothing else"
        )
    with opened(archive, info) as file:
        data = file.read(MAX_CONFIG + 1)
    other = filetypes.not_content(data[: filetypes.HEAD])
    if other is not None:
        raise InvalidModelError(f"{CONFIG!r} {other}")
    return read_config(data)


def _name(config: ModelConfig, layout: Layout, wanted: str) -> str:
    """Returns the model's name, on which folder, configuration and upload must agree.

    Raises InvalidModelError.
    """
    name = layout.name or wanted or config.name
    if config.name is None or name is None:
        raise InvalidModelError(f'{CONFIG} does not say which model it is: add `name: "..."` to it')
    check_name(name)
    if wanted not in ("", name):
        raise InvalidModelError(
            f"the upload is named {wanted!r}, the model's folder {name!r}; they must be equal:"
            " rename the folder"
        )
    if config.name != name:
        raise InvalidModelError(
            f"{CONFIG} has the name {config.name!r}, the model {name!r}; they must be equal: rename"
            f" the folder to {config.name!r}, or change the line `name:` of {CONFIG}"
        )
    return name


def _refuse_too_large(size: int, folder: Path) -> None:
    free = os.statvfs(folder)
    available = free.f_bavail * free.f_frsize
    if size > available:
        raise StorageFullError(
            f"the model would need {size} bytes on the disk, {available} are free; free some space"
            " on the disk of the state and try again"
        )


def _write(
    flag: CancelFlag,
    archive: zipfile.ZipFile,
    infos: dict[str, zipfile.ZipInfo],
    layout: Layout,
    root: Path,
) -> None:
    made = [root.parent, root, *(root / folder for folder in layout.folders)]
    for folder in made:
        flag.check()
        folder.mkdir(mode=0o700)
        folder.chmod(0o755)  # with any umask: an inference server runs as another user
    for path, info in infos.items():
        runs = (info.external_attr >> 16) & 0o111
        with opened(archive, info) as packed:
            named = _copy(flag, packed, root / path, info.file_size, 0o755 if runs else 0o644)
        content.check_parts(path, named, infos.keys())
    for folder in reversed(made):
        flag.check()
        files.sync_folder(folder)


def _copy(flag: CancelFlag, packed: Reader, path: Path, size: int, mode: int) -> set[str]:
    """Writes a file; returns the names of other files with its weights, if it is an ONNX file."""
    named: set[str] = set()
    before = b""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        while data := packed.read(_STEP):
            flag.check()
            file.write(data)
            if path.suffix.lower() == ".onnx":
                named.update(content.locations(before + data))
                before = data[-_OVERLAP:]
        if file.tell() != size:
            raise InvalidModelError(
                f"{path.name!r} unpacks to {file.tell()} bytes, the archive says {size}; it is"
                " damaged: copy or download the archive again"
            )
        file.flush()
        os.fchmod(file.fileno(), mode)
        flag.check()
        sync(file.fileno())
    return named
