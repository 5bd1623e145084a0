"""Calls of the Payloads service, and the local files that they read and write.

Every call also raises what the methods of `Connection` raise.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from claraedge import texts
from claraedge.client import jobs
from claraedge.client.connection import HEADER, Connection
from claraedge.client.prefix import by_prefix, full_id
from claraedge.client.values import PayloadFileInfo
from claraedge.errors import (
    FileCollisionError,
    FileNotFoundInPayloadError,
    InvalidFileNameError,
    InvalidPayloadIdError,
    JobNotFoundError,
    PayloadNotFoundError,
)
from claraedge.formats.filenames import NameKind, Names
from claraedge.fs import files
from claraedge.wire.nvidia.clara.platform import payloads_pb2 as pb
from claraedge.wire.nvidia.clara.platform.common_pb2 import Identifier
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub

_CHUNK = 1024 * 1024

#: Called with the bytes of each chunk that was transferred.
Progress = Callable[[int], object]


def create(connection: Connection, metadata: Mapping[str, str]) -> str:
    """Creates an empty reusable payload; returns its id."""
    reply = connection.unary(
        PayloadsStub(connection.channel).Create,
        pb.PayloadsCreateRequest(header=HEADER, metadata=metadata),
    )
    return reply.payload_id.value


def delete(connection: Connection, payload_id: str) -> None:
    """Deletes a payload with all its files permanently."""
    connection.unary(
        PayloadsStub(connection.channel).Delete,
        pb.PayloadsDeleteRequest(header=HEADER, payload_id=Identifier(value=payload_id)),
    )


def remove(connection: Connection, payload_id: str, name: str) -> None:
    """Removes one file of a payload."""
    connection.unary(
        PayloadsStub(connection.channel).Remove,
        pb.PayloadsRemoveRequest(header=HEADER, payload_id=Identifier(value=payload_id), name=name),
    )


def change_metadata(
    connection: Connection, payload_id: str, add: Mapping[str, str], remove: Sequence[str]
) -> dict[str, str]:
    """Removes keys of a reusable payload, then adds entries; returns the complete set."""
    stub, payload = PayloadsStub(connection.channel), Identifier(value=payload_id)
    removed = connection.unary(
        stub.RemoveMetadata,
        pb.PayloadsRemoveMetadataRequest(header=HEADER, payload_id=payload, keys=remove),
    )
    if not add:
        return dict(removed.metadata)
    added = connection.unary(
        stub.AddMetadata,
        pb.PayloadsAddMetadataRequest(header=HEADER, payload_id=payload, metadata=add),
    )
    return dict(added.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Local files for a payload."""

    files: Mapping[str, Path]
    """Files by their names in the payload; names of files in a given folder are relative to it."""
    left_out: Mapping[str, str]
    """Names of files left out, which a program left in a given folder, with that program."""

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.stat().st_size for file in self.files.values())


def gather(paths: Sequence[Path], names: Names) -> Gathered:
    """Collects the files of paths. A file whose own path is given is taken whatever its name is.

    Raises FileCollisionError if two files would get the same name. Raises InvalidFileNameError for
    a path that is neither a file nor a folder, a name that is not UTF-8, a file in a folder that
    has the name of an unfinished file, and if there is no file at all. Nothing is sent then.
    """
    gathered: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for path in paths:
        for name, file in _files(path):
            below = b"" if name == path.name and file == path else os.fsencode(name)
            if (row := names.first(NameKind.LEFTOVER, below)) is not None:
                left_out[name] = row.program
                continue
            if (row := names.first(NameKind.UNFINISHED, below)) is not None:
                raise InvalidFileNameError(
                    f"{file}: this is the name of an unfinished file ({row.program}), so the folder"
                    " is not whole; wait until its program renames it, or remove it. To upload it"
                    " as it is, give its own path"
                )
            if name in gathered:
                raise FileCollisionError(
                    f"{gathered[name]} and {file} would both be {name!r}; rename one, or give"
                    " the folder that holds both"
                )
            try:
                name.encode()
            except UnicodeEncodeError:
                raise InvalidFileNameError(
                    f"{texts.shown(str(file))}: the name is not UTF-8; rename the file first"
                ) from None
            mode = file.stat().st_mode
            if stat.S_ISDIR(mode):
                raise InvalidFileNameError(
                    f"{file}: it is a link to a folder, and such links are not followed; give the"
                    " path of that folder, or remove the link"
                )
            if not stat.S_ISREG(mode):
                raise InvalidFileNameError(
                    f"{file}: only regular files can be uploaded; leave it out"
                )
            gathered[name] = file
    if not gathered and (given := ", ".join(map(str, paths))):
        raise InvalidFileNameError(
            f"{texts.shown(given)}: there is no file of yours to upload; put files there, or give"
            " another path"
        )
    return Gathered(files=gathered, left_out=left_out)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield path.name, path
        return
    for folder, folders, names in os.walk(path, onerror=_raise):  # noqa: TID251 the caller's
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]  # not followed
        for name in sorted([*names, *links]):
            file = Path(folder, name)
            yield file.relative_to(path).as_posix(), file


def _raise(error: OSError) -> None:
    raise error


def upload(
    connection: Connection, payload_id: str, files: Mapping[str, Path], progress: Progress
) -> None:
    """Uploads `files` in one stream: all appear together, or none after an error."""
    if not files:
        return

    def requests() -> Iterator[pb.PayloadsUploadRequest]:
        for name, path in files.items():
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                details = pb.PayloadFileDetails(
                    mode=stat.S_IMODE(found.st_mode) & 0o777, size=found.st_size, name=name
                )
                first = True
                while (data := _read(file, path)) or first:
                    first = False  # an empty file is sent as one message without data
                    yield pb.PayloadsUploadRequest(
                        header=HEADER,
                        payload_id=Identifier(value=payload_id),
                        details=details,
                        data=data,
                    )
                    progress(len(data))

    connection.send(PayloadsStub(connection.channel).Upload, requests())


def _read(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(_CHUNK)
    except OSError as error:  # lacks the file name, which an error of `open` has
        raise OSError(error.errno, error.strerror, str(path)) from error


def list_files(connection: Connection, payload_id: str) -> list[PayloadFileInfo]:
    """Returns all files of a payload."""
    request = pb.PayloadsDetailsRequest(header=HEADER, payload_id=Identifier(value=payload_id))
    replies = connection.stream(PayloadsStub(connection.channel).Details, request)
    return [
        PayloadFileInfo(name=r.file.name, size=r.file.size, mode=r.file.mode)
        for r in replies
        if r.file.name
    ]


def select(
    files: Iterable[PayloadFileInfo], pattern: str
) -> tuple[list[tuple[PayloadFileInfo, PurePosixPath]], bool]:
    """Returns the files that match `pattern`, each with its path below the destination.

    The name of a file matches that file; that of a folder matches all files below it; `*`, `?` and
    `[...]` match as in a shell, but `*` also matches `/`. Paths are relative to the last folder
    before any of these characters. The second value returned is whether the pattern is the name of
    a file. Raises FileNotFoundInPayloadError if no file matches.
    """
    wanted = "/" + pattern.removeprefix(".").lstrip("/")
    known = list(files)
    for file in known:
        if file.name == wanted:
            return [(file, PurePosixPath(PurePosixPath(file.name).name))], True
    if any(sign in wanted for sign in "*?["):
        base = wanted[: min(wanted.index(sign) for sign in "*?[" if sign in wanted)]
        base = base[: base.rindex("/") + 1]
        found = [f for f in known if fnmatch.fnmatchcase(f.name, wanted)]
    else:
        base = wanted.rstrip("/") + "/"
        found = [f for f in known if f.name.startswith(base)]
    if not found:
        raise FileNotFoundInPayloadError(
            f"no file of the payload matches {wanted!r}; it has {len(known)} files"
            + "".join(f"\n  {f.name}" for f in known[:10])
        )
    return [(file, _below(file.name.removeprefix(base))) for file in found], False


def _below(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:  # a malicious daemon must not write elsewhere
        raise InvalidFileNameError(
            f"the daemon sent the name {name!r}, which leaves the destination"
        )
    return path


def download(
    connection: Connection, payload_id: str, name: str, target: Path, progress: Progress
) -> None:
    """Downloads one file; `target` appears or is replaced only when the file is complete."""
    request = pb.PayloadsDownloadRequest(
        header=HEADER, payload_id=Identifier(value=payload_id), name=name
    )
    files.make_folders(target.parent, 0o777)
    part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            for reply in connection.stream(PayloadsStub(connection.channel).Download, request):
                file.write(reply.data)
                progress(len(reply.data))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def resolve(connection: Connection, text: str) -> str:
    """Returns the id of the payload that `text` means.

    `text` is the id of a payload or a job, or a unique prefix of one. A reusable payload must be
    given by its full id, because no call lists them. Raises InvalidPayloadIdError and
    PayloadNotFoundError.
    """
    whole = full_id(text)
    if whole is not None:
        with contextlib.suppress(JobNotFoundError):
            return jobs.status(connection, whole).payload_id
        return whole
    candidates: dict[str, str] = {}
    payload_of: dict[str, str] = {}
    for job in jobs.list_all(connection):
        candidates[job.id], candidates[job.payload_id] = f"job {job.name}", f"payload of {job.name}"
        payload_of[job.id] = payload_of[job.payload_id] = job.payload_id
    found = by_prefix(
        text,
        candidates,
        noun="job or payload",
        invalid=InvalidPayloadIdError,
        missing=PayloadNotFoundError,
        see="claraedge list jobs",
    )
    return payload_of[found]
