"""Where `claraedge.v1.Files` reads: payloads, models, and delivered results."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from claraedge import memory
from claraedge.api.appliance import time_of
from claraedge.api.contents import MESSAGE, next_bytes
from claraedge.blocking import CancelFlag, in_folder_thread
from claraedge.errors import (
    FileChangedError,
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
#: Reads of folders at the same time, of the threads that all work on shares has.
_THREADS = 8
#: Bytes of memory for each of them.
_ENTRY = 1000

P = ParamSpec("P")
T = TypeVar("T")
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

    async def check(self, file: wire.FileInfo, content: FileIO) -> None:
        """Raises FileChangedError if the file was changed since it was opened."""


class Places:
    """Finds the place of a request."""

    def __init__(
        self, payloads: Payloads, models: Models, results: Callable[[str], Awaitable[Path]]
    ) -> None:
        """`results`: returns the folder with the results of a job."""
        self.payloads = payloads
        self._models = models
        self._results = results
        self._turns = asyncio.Semaphore(_THREADS)

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
                yield FolderPlace(folder, self._turns)
        elif kind == "job_id":
            job = parse_id(request.job_id, InvalidJobIdError)
            yield FolderPlace(await self._results(job), self._turns)
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

    async def check(self, file: wire.FileInfo, content: FileIO) -> None:
        """Does nothing: stored files never change."""


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """The files of a folder on any disk, which may be a share: each access has a thread for that.

    An ETag is made of all that changes with the content of a file.
    """

    folder: Path
    turns: asyncio.Semaphore
    """Of threads: the others are for the inbox, also while this disk does not answer."""

    async def stat(self, name: str) -> wire.FileInfo:
        wanted = folder_name(name)
        try:
            found = await self._in_thread(_status, self.folder, wanted)
        except FileNotFoundError:
            raise self._missing(name) from None
        except PermissionError as error:
            raise self._closed(name, error) from None
        if name.endswith("/") and not stat.S_ISDIR(found.st_mode):
            raise self._missing(name)
        return _entry(wanted, found)

    async def inside(
        self, folder: str, *, deep: bool, after: str
    ) -> AsyncGenerator[wire.FileInfo, None]:
        more = True
        try:
            entries = await self._in_thread(_listed, self.folder, folder_name(folder), deep, after)
            while more:
                with memory.kept(_BATCH * _ENTRY):
                    found = await self._in_thread(_next, entries)
                    for name, status in found:
                        yield _entry(name, status)
                more = len(found) == _BATCH
        except FileNotFoundError:
            if after:  # a part of the list must not pass for the whole
                raise self._missing(folder) from None
        except PermissionError as error:
            raise self._closed(folder, error) from None

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[tuple[wire.FileInfo, FileIO]]:
        wanted = normalise(name)
        try:
            content, status = await self._in_thread(_opened, self.folder, wanted)
        except (FileNotFoundError, IsADirectoryError):
            raise self._missing(name) from None
        except PermissionError as error:
            raise self._closed(name, error) from None
        with content:
            yield _entry(wanted, status), content

    async def next(self, content: FileIO, most: int) -> bytes:
        return await self._in_thread(_read, content, most)

    async def check(self, file: wire.FileInfo, content: FileIO) -> None:
        if _entry(file.name, await self._in_thread(_status_of, content)).etag != file.etag:
            raise FileChangedError(
                f"the file {file.name!r} was changed while it was read; ask for it again"
            )

    async def _in_thread(
        self, work: Callable[Concatenate[CancelFlag, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        async with self.turns:
            return await in_folder_thread(work, *args, **kwargs)

    def _closed(self, name: str, error: PermissionError) -> FileNotFoundInPayloadError:
        return FileNotFoundInPayloadError(
            f"{self.folder} has {name!r}, which the daemon's user may not read"
            f" ({error.strerror}); give it the right to read"
        )

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


def _listed(
    _: CancelFlag, folder: Path, name: str, deep: bool, after: str
) -> Iterator[tuple[str, os.stat_result]]:
    return listing.inside(folder, name, deep=deep, after=after)


def _status_of(_: CancelFlag, content: FileIO) -> os.stat_result:
    return os.fstat(content.fileno())


def _next(
    _: CancelFlag, entries: Iterator[tuple[str, os.stat_result]]
) -> list[tuple[str, os.stat_result]]:
    return list(islice(entries, _BATCH))


def _opened(_: CancelFlag, folder: Path, name: str) -> tuple[FileIO, os.stat_result]:
    content = listing.open_file(folder, name)
    return content, os.fstat(content.fileno())


def _read(_: CancelFlag, content: FileIO, most: int) -> bytes:
    return content.read(min(most, MESSAGE))
