"""Where `claraedge.v1.Files` reads: payloads, models, and delivered results."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias

from claraedge import memory
from claraedge.api.appliance import time_of
from claraedge.api.contents import MESSAGE, next_bytes
from claraedge.blocking import CancelFlag, in_folder_thread
from claraedge.errors import (
    FileNotFoundInPayloadError,
    InvalidJobIdError,
    InvalidModelIdError,
    InvalidPayloadIdError,
)
from claraedge.fs import listing
from claraedge.ids import parse_id
from claraedge.models.models import Models
from claraedge.payloads.model import PayloadFile, etag_of
from claraedge.payloads.names import folder_name, normalise
from claraedge.payloads.payloads import Payloads
from claraedge.wire.claraedge.v1 import files_pb2 as wire

#: Entries of a folder that are read at once.
_BATCH = 500
#: Bytes of memory for each of them.
_ENTRY = 1000

Reading: TypeAlias = wire.StatFileRequest | wire.ListFilesRequest | wire.ReadFileRequest


class FilePlace(Protocol):
    """Where files are read."""

    async def stat(self, name: str) -> wire.FileInfo:
        """Returns a file or folder. Raises FileNotFoundInPayloadError, InvalidFileNameError."""

    def inside(self, folder: str, *, deep: bool, after: str) -> AsyncGenerator[wire.FileInfo, None]:
        """Yields what a folder contains, as `Payloads.inside` does."""

    def open(self, name: str) -> AbstractAsyncContextManager[tuple[wire.FileInfo, FileIO]]:
        """Opens a file. Raises as `stat` does."""

    async def next(self, content: FileIO, most: int) -> bytes:
        """Returns the next bytes of an opened file, at most `most`; none at the end."""


class Places:
    """Finds the place of a request."""

    def __init__(
        self, payloads: Payloads, models: Models, results: Callable[[str], Awaitable[Path]]
    ) -> None:
        """`results`: returns the folder with the results of a job."""
        self.payloads = payloads
        self._models = models
        self._results = results

    @asynccontextmanager
    async def of(self, request: Reading) -> AsyncIterator[FilePlace]:
        """Yields the place that a request names; it stays while the context is open.

        Raises InvalidPayloadIdError if there is none, the errors of wrong ids, and
        ResultsNotFoundError.
        """
        kind = request.WhichOneof("place")
        if kind == "model_id":
            model = parse_id(request.model_id, InvalidModelIdError)
            async with self._models.reading(model) as (_, folder):
                yield FolderPlace(folder)
        elif kind == "job_id":
            yield FolderPlace(await self._results(parse_id(request.job_id, InvalidJobIdError)))
        elif kind == "payload_id":
            payload = parse_id(request.payload_id, InvalidPayloadIdError)
            with self.payloads.readers.reading(payload):
                yield PayloadPlace(self.payloads, payload)
        else:
            raise InvalidPayloadIdError(
                f"the {request.DESCRIPTOR.name} names no place; set `payload_id`, or one of the"
                " others"
            )


@dataclass(frozen=True, slots=True)
class PayloadPlace:
    """The files of a payload."""

    payloads: Payloads
    payload: str

    async def stat(self, name: str) -> wire.FileInfo:
        found, file, modified = await self.payloads.stat(self.payload, name)
        if file is None:
            return wire.FileInfo(name=found, folder=True)
        return info_of(self.payload, file, modified)

    async def inside(
        self, folder: str, *, deep: bool, after: str
    ) -> AsyncGenerator[wire.FileInfo, None]:
        found = self.payloads.inside(self.payload, folder, deep=deep, after=after)
        async with aclosing(found) as entries:
            async for one in entries:
                if isinstance(one, str):
                    yield wire.FileInfo(name=one, folder=True)
                else:
                    yield info_of(self.payload, one)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[tuple[wire.FileInfo, FileIO]]:
        file, content = await self.payloads.open(self.payload, name)
        with content:
            modified = os.fstat(content.fileno()).st_mtime
            yield info_of(self.payload, file, modified), content

    async def next(self, content: FileIO, most: int) -> bytes:
        return await next_bytes(content, most)


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """The files of a folder on any disk, which may be a share: each access has a thread for that.

    An ETag is made of all that changes with the content of a file.
    """

    folder: Path

    async def stat(self, name: str) -> wire.FileInfo:
        wanted = folder_name(name)
        try:
            found = await in_folder_thread(_status, self.folder, wanted)
        except FileNotFoundError:
            raise self._missing(name) from None
        if name.endswith("/") and not stat.S_ISDIR(found.st_mode):
            raise self._missing(name)
        return _entry(wanted, found)

    async def inside(
        self, folder: str, *, deep: bool, after: str
    ) -> AsyncGenerator[wire.FileInfo, None]:
        entries = listing.inside(self.folder, folder_name(folder), deep=deep, after=after)
        more = True
        while more:
            try:
                with memory.kept(_BATCH * _ENTRY):
                    found = await in_folder_thread(_next, entries)
                    for name, status in found:
                        yield _entry(name, status)
            except FileNotFoundError:
                return
            more = len(found) == _BATCH

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[tuple[wire.FileInfo, FileIO]]:
        wanted = normalise(name)
        try:
            content, status = await in_folder_thread(_opened, self.folder, wanted)
        except (FileNotFoundError, IsADirectoryError):
            raise self._missing(name) from None
        with content:
            yield _entry(wanted, status), content

    async def next(self, content: FileIO, most: int) -> bytes:
        return await in_folder_thread(_read, content, most)

    def _missing(self, name: str) -> FileNotFoundInPayloadError:
        return FileNotFoundInPayloadError(
            f"{self.folder} has no file {name!r}; list the folder for the names that it has"
        )


def info_of(payload: str, file: PayloadFile, modified: float | None = None) -> wire.FileInfo:
    """Returns a file of a payload as a message. `modified`: Unix seconds; None: not known."""
    return wire.FileInfo(
        name=file.name,
        size=file.size,
        mode=file.mode,
        etag=etag_of(payload, file),
        modified=None if modified is None else time_of(modified),
        sha256=file.sha256 or "",
    )


def _entry(name: str, status: os.stat_result) -> wire.FileInfo:
    if stat.S_ISDIR(status.st_mode):
        return wire.FileInfo(name=name, folder=True)
    identity = (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    return wire.FileInfo(
        name=name,
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode) & 0o777,
        etag=hashlib.sha256(repr(identity).encode()).hexdigest()[:32],
        modified=time_of(status.st_mtime),
    )


# --- in threads --------------------------------------------------------------------------------


def _status(_: CancelFlag, folder: Path, name: str) -> os.stat_result:
    return listing.status_of(folder, name)


def _next(
    _: CancelFlag, entries: Iterator[tuple[str, os.stat_result]]
) -> list[tuple[str, os.stat_result]]:
    return list(islice(entries, _BATCH))


def _opened(_: CancelFlag, folder: Path, name: str) -> tuple[FileIO, os.stat_result]:
    content = listing.open_file(folder, name)
    return content, os.fstat(content.fileno())


def _read(_: CancelFlag, content: FileIO, most: int) -> bytes:
    return content.read(min(most, MESSAGE))
