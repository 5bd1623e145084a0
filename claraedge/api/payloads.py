"""`nvidia.clara.platform.Payloads`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import FileIO

from claraedge.api.answers import ok
from claraedge.api.translate import CHUNK, id_of, identifier
from claraedge.blocking import CancelFlag, in_cancellable_thread
from claraedge.errors import InvalidPayloadIdError, InvalidRequestError
from claraedge.payloads.model import PayloadFile, PayloadType
from claraedge.payloads.payloads import Payloads, Upload
from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire


class PayloadsServicer:
    """AddMetadata, Create, Delete, Details, Download, Remove, RemoveMetadata, Upload."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads

    async def Create(self, request: wire.PayloadsCreateRequest) -> wire.PayloadsCreateResponse:
        payload = await self._payloads.create(dict(request.metadata))
        return wire.PayloadsCreateResponse(
            header=ok(), payload_id=identifier(payload.id), type=_type(payload.type)
        )

    async def Details(
        self, request: wire.PayloadsDetailsRequest
    ) -> AsyncIterator[wire.PayloadsDetailsResponse]:
        payload = await self._payloads.get(_payload_id(request))

        def message(file: PayloadFile | None, *, first: bool) -> wire.PayloadsDetailsResponse:
            return wire.PayloadsDetailsResponse(
                header=ok(),
                payload_id=identifier(payload.id),
                type=_type(payload.type),
                job_id=identifier(payload.job) if payload.job else None,
                file=_details(file) if file else None,
                metadata=payload.metadata if first else {},
            )

        if not payload.files:
            yield message(None, first=True)
        # The first file goes with the first message: the original client makes a nameless entry
        # of every message without one.
        for number, file in enumerate(payload.files):
            yield message(file, first=number == 0)

    async def Download(
        self, request: wire.PayloadsDownloadRequest
    ) -> AsyncIterator[wire.PayloadsDownloadResponse]:
        file, content = await self._payloads.open(_payload_id(request), request.name)
        with content:
            data = await in_cancellable_thread(_read, content)
            yield wire.PayloadsDownloadResponse(header=ok(), details=_details(file), data=data)
            while data := await in_cancellable_thread(_read, content):
                yield wire.PayloadsDownloadResponse(details=_details(file), data=data)

    async def Upload(
        self, requests: AsyncIterator[wire.PayloadsUploadRequest]
    ) -> wire.PayloadsUploadResponse:
        try:
            first = await anext(requests)
        except StopAsyncIteration:
            raise InvalidRequestError(
                "the upload holds no message, so it names no file; an empty file needs one message"
                " with its name"
            ) from None
        payload = _payload_id(first)
        async with await self._payloads.upload(payload) as upload:
            name = await _take(upload, first, payload, "")
            async for request in requests:
                name = await _take(upload, request, payload, name)
            file = await upload.commit()
        return wire.PayloadsUploadResponse(header=ok(), details=_details(file))

    async def Remove(self, request: wire.PayloadsRemoveRequest) -> wire.PayloadsRemoveResponse:
        await self._payloads.remove_file(_payload_id(request), request.name)
        return wire.PayloadsRemoveResponse(header=ok())

    async def Delete(self, request: wire.PayloadsDeleteRequest) -> wire.PayloadsDeleteResponse:
        await self._payloads.delete(_payload_id(request))
        return wire.PayloadsDeleteResponse(header=ok())

    async def AddMetadata(
        self, request: wire.PayloadsAddMetadataRequest
    ) -> wire.PayloadsAddMetadataResponse:
        payload = _payload_id(request)
        entries = await self._payloads.add_metadata(payload, dict(request.metadata))
        return wire.PayloadsAddMetadataResponse(
            header=ok(), payload_id=identifier(payload), metadata=entries
        )

    async def RemoveMetadata(
        self, request: wire.PayloadsRemoveMetadataRequest
    ) -> wire.PayloadsRemoveMetadataResponse:
        payload = _payload_id(request)
        entries = await self._payloads.remove_metadata(payload, list(request.keys))
        return wire.PayloadsRemoveMetadataResponse(
            header=ok(), payload_id=identifier(payload), metadata=entries
        )


async def _take(
    upload: Upload, request: wire.PayloadsUploadRequest, payload: str, current: str
) -> str:
    """Appends a message to its file: the one that it names, else the one before it."""
    if request.payload_id.value:
        named = id_of(request.payload_id, "payload", InvalidPayloadIdError)
        if named != payload:
            raise InvalidRequestError(
                f"the upload changes from payload {payload} to {named}; use a stream for each"
            )
    name = request.details.name or current
    await upload.write(name, request.details.mode, request.data)
    return name


def _read(_: CancelFlag, content: FileIO) -> bytes:
    return content.read(CHUNK)


def _payload_id(
    request: wire.PayloadsUploadRequest
    | wire.PayloadsDetailsRequest
    | wire.PayloadsDownloadRequest
    | wire.PayloadsRemoveRequest
    | wire.PayloadsDeleteRequest
    | wire.PayloadsAddMetadataRequest
    | wire.PayloadsRemoveMetadataRequest,
) -> str:
    return id_of(request.payload_id, "payload", InvalidPayloadIdError)


def _details(file: PayloadFile) -> wire.PayloadFileDetails:
    return wire.PayloadFileDetails(mode=file.mode, size=file.size, name=f"/{file.name}")


def _type(kind: PayloadType) -> wire.PayloadType.ValueType:
    return wire.PayloadType.ValueType(kind)
