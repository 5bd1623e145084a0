"""Serves `claraedge.v1.Files`: parts of files, folders, and uploads that can be continued; and
`claraedge.v1.Drops`, whose files come by such uploads.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from claraedge.api.appliance import time_of
from claraedge.api.places import Places, info_of
from claraedge.errors import (
    FileChangedError,
    FileRangeError,
    InvalidPayloadIdError,
    InvalidRequestError,
)
from claraedge.ids import parse_id
from claraedge.inbox.drops.drops import Drops, DropState
from claraedge.payloads.checksums import Checksum, Comparison
from claraedge.payloads.names import normalise
from claraedge.payloads.records import Condition
from claraedge.payloads.resumable import ResumableUploads, UploadState
from claraedge.payloads.resuming import continued
from claraedge.wire.claraedge.v1 import drops_pb2 as drops_wire
from claraedge.wire.claraedge.v1 import files_pb2 as wire

#: Files in one message of a list, and bytes of their names. Clients accept messages of 4 MiB.
_FILES, _BYTES = 500, 256 * 1024


class FilesServicer:
    """Implements Stat, List, Read, Write, StartUpload, GetUpload, ListUploads, CancelUpload."""

    def __init__(self, places: Places, drops: Drops) -> None:
        self._places = places
        self._payloads = places.payloads
        self._drops = drops

    async def Stat(self, request: wire.StatFileRequest) -> wire.FileInfo:
        async with self._places.of(request) as place:
            return await place.stat(request.name)

    async def List(self, request: wire.ListFilesRequest) -> AsyncIterator[wire.ListFilesResponse]:
        message, size = wire.ListFilesResponse(), 0
        async with self._places.of(request) as place:
            found = place.inside(request.folder, deep=request.recursive, after=request.after)
            async with aclosing(found) as entries:
                async for info in entries:
                    message.files.append(info)
                    size += len(info.name)
                    if len(message.files) >= _FILES or size >= _BYTES:
                        yield message
                        message, size = wire.ListFilesResponse(), 0
        if message.files:
            yield message

    async def Read(self, request: wire.ReadFileRequest) -> AsyncIterator[wire.ReadFileResponse]:
        """Answers Files.Read.

        Raises InvalidRequestError for a negative offset or limit, FileRangeError for an offset
        after the end, and FileChangedError if the file is not, or no longer, the one of `if_etag`.
        """
        if request.offset < 0 or request.limit < 0:
            raise InvalidRequestError(
                f"the offset {request.offset} or the limit {request.limit} is negative; give bytes"
                " from 0 on"
            )
        async with (
            self._places.of(request) as place,
            place.open(request.name) as (info, content),
        ):
            if request.if_etag not in ("", info.etag):
                raise FileChangedError(
                    f"the file {info.name!r} was replaced meanwhile; ask for it again"
                )
            left = info.size - request.offset
            if left < 0:
                raise FileRangeError(
                    f"the file {info.name!r} has {info.size} bytes, so that none follow the offset"
                    f" {request.offset}; begin at {info.size} at most"
                )
            left = min(left, request.limit or left)
            content.seek(request.offset)
            response = wire.ReadFileResponse(file=info)
            while left:
                response.data = await place.next(content, left)
                if not response.data:  # fewer bytes must not pass for all
                    raise FileChangedError(
                        f"the file {info.name!r} has become shorter while it was read; ask for it"
                        " again"
                    )
                left -= len(response.data)
                if not left:
                    await place.check(info, content)
                yield response
                response = wire.ReadFileResponse()
            if response.HasField("file"):
                yield response

    async def Write(self, requests: AsyncIterator[wire.WriteFileRequest]) -> wire.WriteFileResponse:
        """Answers Files.Write. Raises InvalidRequestError if the stream has no message, or stores
        nothing because none has `finish`.
        """
        try:
            first = await anext(requests)
        except StopAsyncIteration:
            raise InvalidRequestError(
                "the stream holds no message; send one with a name, or with the id of an upload"
            ) from None
        head = wire.WriteFileRequest()
        head.CopyFrom(first)
        head.ClearField("data")
        async with aclosing(_chunks(first, requests)) as chunks:
            del first  # not kept in memory while waiting for the client
            return await (self._continue if head.upload_id else self._whole)(head, chunks)

    async def _whole(
        self, head: wire.WriteFileRequest, chunks: AsyncIterator[tuple[bytes, bool]]
    ) -> wire.WriteFileResponse:
        payload, name = _payload(head), normalise(head.name)
        if head.offset:
            raise InvalidRequestError(
                f"a new file begins at the offset 0, and not at {head.offset}; continue an upload"
                " by its id"
            )
        comparison, finish = Comparison(_checksum(head)), False
        async with await self._payloads.upload(payload) as upload:
            name = name.removeprefix(upload.prefix)
            async for data, finish in chunks:  # noqa: B007 - the last one counts
                comparison.update(data)
                await upload.write(name, head.mode, data)
                del data
            if not finish:
                raise InvalidRequestError(
                    f"the stream ended without `finish`, so {head.name!r} may lack bytes and is not"
                    " stored; send the whole file, and set `finish` in the last message"
                )
            comparison.refuse_other()
            file = await upload.commit(_condition(head))
        return wire.WriteFileResponse(
            file=info_of(payload, file), offset=file.size, replaced=upload.replaced
        )

    async def _continue(
        self, head: wire.WriteFileRequest, chunks: AsyncIterator[tuple[bytes, bool]]
    ) -> wire.WriteFileResponse:
        upload, finish = _upload_id(head), False
        uploads = self._uploads(upload)
        async with continued(uploads, upload, head.offset, _checksum(head)) as continuation:
            async for data, finish in chunks:  # noqa: B007 - as above
                await continuation.write(data)
                del data
            if not finish:
                return wire.WriteFileResponse(offset=await continuation.end())
            file, replaced = await continuation.finish(_condition(head))
        place = uploads.get(upload).place
        return wire.WriteFileResponse(
            file=info_of(place, file), offset=file.size, replaced=replaced
        )

    async def StartUpload(self, request: wire.StartUploadRequest) -> wire.Upload:
        drops = request.WhichOneof("place") == "drop_id"
        return self._upload(
            await (self._drops.uploads if drops else self._payloads.resumable).start(
                _drop(request) if drops else _payload(request),
                request.name,
                mode=request.mode,
                size=request.size if request.HasField("size") else None,
                note=request.note,
            )
        )

    async def GetUpload(self, request: wire.GetUploadRequest) -> wire.Upload:
        upload = _upload_id(request)
        return self._upload(self._uploads(upload).get(upload))

    async def ListUploads(self, request: wire.ListUploadsRequest) -> AsyncIterator[wire.Upload]:
        kind = request.WhichOneof("place")
        found: list[UploadState] = []
        if kind != "drop_id":
            payload = None if kind is None else _payload(request)
            found += await self._payloads.resumable.all(payload)
        if kind != "payload_id":
            drop = None if kind is None else _drop(request)
            found += await self._drops.uploads.all(drop)
        for state in found:
            yield self._upload(state)

    async def CancelUpload(self, request: wire.CancelUploadRequest) -> wire.CancelUploadResponse:
        upload = _upload_id(request)
        await self._uploads(upload).cancel(upload)
        return wire.CancelUploadResponse()

    def _uploads(self, upload: str) -> ResumableUploads:
        """Returns the uploads that an upload belongs to."""
        drops = self._drops.uploads
        return drops if drops.has(upload) else self._payloads.resumable

    def _upload(self, state: UploadState) -> wire.Upload:
        place = "drop_id" if self._drops.uploads.has(state.id) else "payload_id"
        upload = wire.Upload(
            id=state.id,
            name=state.name,
            offset=state.offset,
            size=state.size,
            note=state.note,
            expires=time_of(state.expires),
            finished=state.finished,
        )
        setattr(upload, place, state.place)
        return upload


class DropsServicer:
    """Implements `claraedge.v1.Drops`: Start, Get, Finish, Cancel."""

    def __init__(self, drops: Drops) -> None:
        self._drops = drops

    async def Start(self, request: drops_wire.StartDropRequest) -> drops_wire.Drop:
        return _drop_of(await self._drops.start(request.folder))

    async def Get(self, request: drops_wire.GetDropRequest) -> drops_wire.Drop:
        return _drop_of(self._drops.get(parse_id(request.drop_id, InvalidRequestError)))

    async def Finish(self, request: drops_wire.FinishDropRequest) -> drops_wire.Drop:
        return _drop_of(await self._drops.finish(parse_id(request.drop_id, InvalidRequestError)))

    async def Cancel(self, request: drops_wire.CancelDropRequest) -> drops_wire.CancelDropResponse:
        await self._drops.cancel(parse_id(request.drop_id, InvalidRequestError))
        return drops_wire.CancelDropResponse()


async def _chunks(
    request: wire.WriteFileRequest, requests: AsyncIterator[wire.WriteFileRequest]
) -> AsyncGenerator[tuple[bytes, bool], None]:
    """Yields data and `finish` of each message; keeps no message while its data are written.

    Raises InvalidRequestError if a message follows the last one.
    """
    number, data, finish = 1, request.data, request.finish
    del request
    yield data, finish
    del data
    async for request in requests:
        number += 1
        if finish:
            raise InvalidRequestError(
                f"message {number} of the stream follows the one with `finish`; set it in the last"
            )
        data, finish = request.data, request.finish
        del request
        yield data, finish
        del data


def _payload(
    request: wire.WriteFileRequest | wire.StartUploadRequest | wire.ListUploadsRequest,
) -> str:
    if not request.HasField("place"):
        raise InvalidPayloadIdError(
            f"the {request.DESCRIPTOR.name} names no place; set `payload_id`"
        )
    return parse_id(request.payload_id, InvalidPayloadIdError)


def _drop(request: wire.StartUploadRequest | wire.ListUploadsRequest) -> str:
    return parse_id(request.drop_id, InvalidRequestError)


def _upload_id(
    request: wire.WriteFileRequest | wire.GetUploadRequest | wire.CancelUploadRequest,
) -> str:
    return parse_id(request.upload_id, InvalidRequestError)


def _condition(head: wire.WriteFileRequest) -> Condition:
    return Condition(absent=head.if_absent, etag=head.if_etag)


def _checksum(head: wire.WriteFileRequest) -> Checksum | None:
    """Returns the checksum of a request; None without one. Raises InvalidRequestError."""
    if not head.HasField("checksum"):
        return None
    return Checksum(algorithm=head.checksum.algorithm, digest=head.checksum.digest)


def _drop_of(state: DropState) -> drops_wire.Drop:
    return drops_wire.Drop(
        id=state.id,
        folder=state.folder,
        files=state.files,
        size=state.size,
        uploads=state.uploads,
        expires=time_of(state.expires),
        finished=state.finished,
    )
