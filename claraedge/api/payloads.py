"""Serves `nvidia.clara.platform.Payloads`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from claraedge.api.answers import ok
from claraedge.api.contents import next_bytes
from claraedge.api.translate import id_of, identifier
from claraedge.errors import InvalidPayloadIdError, InvalidRequestError
from claraedge.payloads.model import PayloadFile, PayloadType
from claraedge.payloads.payloads import Payloads
from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire


class PayloadsServicer:
    """Implements AddMetadata, Create, Delete, Details, Download, Remove, RemoveMetadata, Upload."""

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
        wanted = _payload_id(request)
        with self._payloads.readers.reading(wanted):  # usually a download follows
            payload = await self._payloads.get(wanted, with_files=False)
            first = True

            def message(file: PayloadFile | None) -> wire.PayloadsDetailsResponse:
                return wire.PayloadsDetailsResponse(
                    header=ok(),
                    payload_id=identifier(payload.id),
                    type=_type(payload.type),
                    job_id=identifier(payload.job) if payload.job else None,
                    file=_details(file) if file else None,
                    metadata=payload.metadata if first else {},
                )

            async with aclosing(self._payloads.files(wanted)) as files:
                async for file in files:
                    yield message(file)
                    first = False
            # The first message contains the first file: the original client makes a nameless entry
            # of every message without a file.
            if first:
                yield message(None)

    async def Download(
        self, request: wire.PayloadsDownloadRequest
    ) -> AsyncIterator[wire.PayloadsDownloadResponse]:
        payload = _payload_id(request)
        with self._payloads.readers.reading(payload):
            async with aclosing(self._file(payload, request.name)) as messages:
                async for message in messages:
                    yield message

    async def _file(
        self, payload: str, name: str
    ) -> AsyncGenerator[wire.PayloadsDownloadResponse, None]:
        file, content = await self._payloads.open(payload, name)
        with content:
            details = _details(file)
            response = wire.PayloadsDownloadResponse(header=ok(), details=details)
            response.data = await next_bytes(content)
            while True:
                yield response
                data = await next_bytes(content)
                if not data:
                    break
                response = wire.PayloadsDownloadResponse(details=details, data=data)
                del data

    async def Upload(
        self, requests: AsyncIterator[wire.PayloadsUploadRequest]
    ) -> wire.PayloadsUploadResponse:
        """Answers Payloads.Upload. Raises InvalidRequestError if the stream has no message."""
        async with aclosing(_chunks(requests)) as chunks:
            try:
                payload, name, mode, data = await anext(chunks)
            except StopAsyncIteration:
                raise InvalidRequestError(
                    "the upload holds no message, so it names no file; an empty file needs one"
                    " message with its name"
                ) from None
            async with await self._payloads.upload(payload) as upload:
                await upload.write(name, mode, data)
                del data
                async for _, name, mode, data in chunks:
                    await upload.write(name, mode, data)
                    del data  # not kept in memory while waiting for the client
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


async def _chunks(
    requests: AsyncIterator[wire.PayloadsUploadRequest],
) -> AsyncGenerator[tuple[str, str, int, bytes], None]:
    """Yields payload, file name, mode and data of each message.

    A message without a name continues the previous file. No message is kept in memory while its
    data are written.
    """
    payload = name = ""
    async for request in requests:
        if not payload or request.payload_id.value not in ("", payload):
            named = _payload_id(request)
            if payload not in ("", named):
                raise InvalidRequestError(
                    f"the upload changes from payload {payload} to {named}; use a stream for each"
                )
            payload = named
        details, data = request.details, request.data
        name, mode = details.name or name, details.mode
        del request, details
        yield payload, name, mode, data
        del data


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
