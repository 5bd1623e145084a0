"""Serves `nvidia.clara.platform.Models`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, closing

from claraedge import memory
from claraedge.api.answers import ok
from claraedge.api.translate import CHUNK, MAX_MESSAGE, id_of, identifier
from claraedge.blocking import CancelFlag, in_cancellable_thread
from claraedge.errors import (
    InvalidCatalogIdError,
    InvalidInstanceIdError,
    InvalidModelIdError,
    InvalidRequestError,
)
from claraedge.formats import zips
from claraedge.models.model import Model, ModelType
from claraedge.models.models import Models
from claraedge.models.sets import ModelSets
from claraedge.payloads.uploads import BlockedBy, refuse_blocked
from claraedge.wire.nvidia.clara.platform import common_pb2 as common
from claraedge.wire.nvidia.clara.platform import models_pb2 as wire

#: Models of one update of a catalog or instance; a stream that names more is refused at once.
_MAX_MODELS = 10_000


class ModelsServicer:
    """Implements all sixteen methods; none of them loads an instance into an inference server."""

    def __init__(
        self,
        models: Models,
        catalogs: ModelSets,
        instances: ModelSets,
        blocked_by: BlockedBy = lambda: None,
    ) -> None:
        """`blocked_by` returns the reason why no upload may continue, or None."""
        self._blocked_by = blocked_by
        self._models = models
        self._catalogs = catalogs
        self._instances = instances

    # --- models --------------------------------------------------------------------------------

    async def UploadModel(
        self, requests: AsyncIterator[wire.ModelsUploadModelRequest]
    ) -> wire.ModelsUploadModelResponse:
        """Answers Models.UploadModel. Raises InvalidRequestError if the stream has no message."""
        details = _Details()
        empty = True
        async with self._models.upload() as upload:
            async for request in requests:
                refuse_blocked(self._blocked_by)
                empty = False
                details.add(request.details)
                await upload.write(request.data)
            if empty:
                raise InvalidRequestError(
                    "the upload holds no message; send the model's folder as a zip archive"
                )
            model = await upload.commit(details.name, details.type, details.metadata)
        return wire.ModelsUploadModelResponse(header=ok(*upload.notes), details=_details(model))

    async def DownloadModel(
        self, request: wire.ModelsDownloadModelRequest
    ) -> AsyncIterator[wire.ModelsDownloadModelResponse]:
        async with self._models.reading(_model_id(request.model_id)) as (model, folder):
            yield wire.ModelsDownloadModelResponse(header=ok(), details=_details(model))
            brief = _details(model, with_metadata=False)
            buffer = bytearray()
            with closing(zips.pack(folder, model.name)) as source:
                while (piece := await in_cancellable_thread(_next, source)) is not None:
                    buffer += piece
                    while len(buffer) >= CHUNK:
                        data = bytes(buffer[:CHUNK])
                        yield wire.ModelsDownloadModelResponse(details=brief, data=data)
                        del buffer[:CHUNK]
            yield wire.ModelsDownloadModelResponse(details=brief, data=bytes(buffer))

    async def DeleteModel(
        self, request: wire.ModelsDeleteModelRequest
    ) -> wire.ModelsDeleteModelResponse:
        model = _model_id(request.model_id)
        await self._models.delete(model)
        return wire.ModelsDeleteModelResponse(header=ok(), model_id=identifier(model))

    async def ListModels(
        self, request: wire.ModelsListModelsRequest
    ) -> AsyncIterator[wire.ModelsListModelsResponse]:
        part = _ModelBatch()
        async with aclosing(self._models.each()) as models:
            async for model in models:
                if full := part.add(model):
                    yield wire.ModelsListModelsResponse(header=ok(), models=full)
        if part.models:  # the original client fails on a message without a model
            yield wire.ModelsListModelsResponse(header=ok(), models=part.models)

    async def AddMetadata(
        self, request: wire.ModelsAddMetadataRequest
    ) -> wire.ModelsAddMetadataResponse:
        model = _model_id(request.model_id)
        complete = await self._models.add_metadata(model, dict(request.metadata))
        return wire.ModelsAddMetadataResponse(
            header=ok(), model_id=identifier(model), metadata=complete
        )

    async def RemoveMetadata(
        self, request: wire.ModelsRemoveMetadataRequest
    ) -> wire.ModelsRemoveMetadataResponse:
        model = _model_id(request.model_id)
        rest = await self._models.remove_metadata(model, request.keys)
        return wire.ModelsRemoveMetadataResponse(
            header=ok(), model_id=identifier(model), metadata=rest
        )

    # --- catalogs ------------------------------------------------------------------------------

    async def CreateCatalog(
        self, request: wire.ModelsCreateCatalogRequest
    ) -> wire.ModelsCreateCatalogResponse:
        catalog = await self._catalogs.create()
        return wire.ModelsCreateCatalogResponse(header=ok(), catalog_id=identifier(catalog))

    async def DeleteCatalog(
        self, request: wire.ModelsDeleteCatalogRequest
    ) -> wire.ModelsDeleteCatalogResponse:
        catalog = _catalog_id(request.catalog_id)
        await self._catalogs.delete(catalog)
        return wire.ModelsDeleteCatalogResponse(header=ok(), catalog_id=identifier(catalog))

    async def ListCatalogs(
        self, request: wire.ModelsListCatalogsRequest
    ) -> AsyncIterator[wire.ModelsListCatalogsResponse]:
        empty = True
        async with aclosing(_listed(self._catalogs)) as found:
            async for details in found:
                empty = False
                yield wire.ModelsListCatalogsResponse(header=ok(), catalogs=[details])
        if empty:
            yield wire.ModelsListCatalogsResponse(header=ok())

    async def ReadCatalog(
        self, request: wire.ModelsReadCatalogRequest
    ) -> AsyncIterator[wire.ModelsReadCatalogResponse]:
        catalog = await self._catalogs.read(_catalog_id(request.catalog_id))
        memory.take(catalog.memory())
        for part in _parts(catalog.models):
            yield wire.ModelsReadCatalogResponse(
                header=ok(), catalog_id=identifier(catalog.id), models=part
            )

    async def UpdateCatalog(
        self, requests: AsyncIterator[wire.ModelsUpdateCatalogRequest]
    ) -> wire.ModelsUpdateCatalogResponse:
        update = _Update("catalog", InvalidCatalogIdError)
        async for request in requests:
            update.add(request.catalog_id, request.model_ids)
        await self._catalogs.update(update.id(), update.models)
        return wire.ModelsUpdateCatalogResponse(header=ok(), catalog_id=identifier(update.id()))

    # --- instances -----------------------------------------------------------------------------

    async def CreateInstance(
        self, request: wire.ModelsCreateInstanceRequest
    ) -> wire.ModelsCreateInstanceResponse:
        instance = await self._instances.create()
        return wire.ModelsCreateInstanceResponse(header=ok(), instance_id=identifier(instance))

    async def DeleteInstance(
        self, request: wire.ModelsDeleteInstanceRequest
    ) -> wire.ModelsDeleteInstanceResponse:
        instance = _instance_id(request.instance_id)
        await self._instances.delete(instance)
        return wire.ModelsDeleteInstanceResponse(header=ok(), instance_id=identifier(instance))

    async def ListInstances(
        self, request: wire.ModelsListInstancesRequest
    ) -> AsyncIterator[wire.ModelsListInstancesResponse]:
        empty = True
        async with aclosing(_listed(self._instances)) as found:
            async for details in found:
                empty = False
                yield wire.ModelsListInstancesResponse(header=ok(), instances=[details])
        if empty:
            yield wire.ModelsListInstancesResponse(header=ok())

    async def ReadInstance(
        self, request: wire.ModelsReadInstanceRequest
    ) -> AsyncIterator[wire.ModelsReadInstanceResponse]:
        instance = await self._instances.read(_instance_id(request.instance_id))
        memory.take(instance.memory())
        for part in _parts(instance.models):
            yield wire.ModelsReadInstanceResponse(
                header=ok(), instance_id=identifier(instance.id), models=part
            )

    async def UpdateInstance(
        self, requests: AsyncIterator[wire.ModelsUpdateInstanceRequest]
    ) -> wire.ModelsUpdateInstanceResponse:
        update = _Update("instance", InvalidInstanceIdError)
        async for request in requests:
            update.add(request.instance_id, request.model_ids)
        await self._instances.update(update.id(), update.models)
        return wire.ModelsUpdateInstanceResponse(header=ok(), instance_id=identifier(update.id()))


class _Details:
    """The model details of one upload; each message may repeat them or leave them out."""

    def __init__(self) -> None:
        self.name = ""
        self.type = ModelType.UNKNOWN
        self.metadata: dict[str, str] = {}

    def add(self, details: wire.ModelDetails) -> None:
        """Adds the details of a message.

        Raises InvalidRequestError if they contradict an earlier message, and StreamMemoryError.
        """
        if details.name not in ("", self.name):
            if self.name:
                raise InvalidRequestError(
                    f"the upload changes from model {self.name!r} to {details.name!r}; use a stream"
                    " for each"
                )
            self.name = details.name
        if details.type:
            try:
                kind = ModelType(details.type)
            except ValueError:
                raise InvalidRequestError(
                    f"{details.type} is no type of a model; see ModelType in the protos"
                ) from None
            if self.type not in (ModelType.UNKNOWN, kind):
                raise InvalidRequestError(
                    f"the upload changes the type of model {self.name!r} from {self.type.name} to"
                    f" {kind.name}; give one type"
                )
            self.type = kind
        self._merge(details.metadata)

    def _merge(self, entries: Mapping[str, str]) -> None:
        for key, value in entries.items():
            if key not in self.metadata:
                memory.take(memory.of_text(key, value))
            if self.metadata.setdefault(key, value) != value:
                raise InvalidRequestError(
                    f"the upload of model {self.name!r} gives the metadata key {key[:40]!r} two"
                    " values; give one"
                )


class _Update:
    """The content of one update: the models of all messages; each message may repeat the id."""

    def __init__(self, what: str, error: type[InvalidRequestError]) -> None:
        self.models: dict[str, None] = {}
        self._what = what
        self._error = error
        self._id: str | None = None

    def add(self, set_id: common.Identifier, models: Iterable[common.Identifier]) -> None:
        """Adds the models of a message.

        Raises InvalidRequestError if the id changes or there are too many models, the errors of
        invalid ids, and StreamMemoryError.
        """
        if set_id.value or self._id is None:
            named = id_of(set_id, self._what, self._error)
            if self._id not in (None, named):
                raise InvalidRequestError(
                    f"the update changes from {self._what} {self._id} to {named}; use a stream for"
                    " each"
                )
            self._id = named
        for model in models:
            named = _model_id(model)
            if named not in self.models:
                memory.take(memory.of_text(named))
            self.models[named] = None
            if len(self.models) > _MAX_MODELS:
                raise InvalidRequestError(
                    f"the update of {self._what} {self._id} names more than {_MAX_MODELS} models;"
                    " leave some out"
                )

    def id(self) -> str:
        """Returns the id of the set. Raises InvalidRequestError if no message was sent."""
        if self._id is None:
            raise InvalidRequestError(
                f"the update holds no message; send one with the id of the {self._what}"
            )
        return self._id


def _next(flag: CancelFlag, source: Iterator[bytes]) -> bytes | None:
    flag.check()
    return next(source, None)


def _model_id(value: common.Identifier) -> str:
    return id_of(value, "model", InvalidModelIdError)


def _catalog_id(value: common.Identifier) -> str:
    return id_of(value, "catalog", InvalidCatalogIdError)


def _instance_id(value: common.Identifier) -> str:
    return id_of(value, "instance", InvalidInstanceIdError)


def _details(model: Model, *, with_metadata: bool = True) -> wire.ModelDetails:
    return wire.ModelDetails(
        model_id=identifier(model.id),
        name=model.name,
        type=wire.ModelType.ValueType(model.type),
        metadata=model.metadata if with_metadata else {},
    )


class _ModelBatch:
    """Collects the models of one message."""

    def __init__(self) -> None:
        self.models: list[wire.ModelDetails] = []
        self._size = 0

    def add(self, model: Model) -> list[wire.ModelDetails]:
        """Adds a model; if the message is full, returns its old models and starts a new message."""
        details = _details(model)
        full: list[wire.ModelDetails] = []
        if self.models and self._size + details.ByteSize() > MAX_MESSAGE - CHUNK:
            full, self.models, self._size = self.models, [], 0
        self.models.append(details)
        self._size += details.ByteSize() + 16
        return full


def _parts(models: Iterable[Model]) -> Iterator[list[wire.ModelDetails]]:
    """Yields the models in lists that each fit a message; at least one list, maybe empty."""
    part = _ModelBatch()
    for model in models:
        if full := part.add(model):
            yield full
    yield part.models


async def _listed(sets: ModelSets) -> AsyncGenerator[wire.ModelCatalogDetails, None]:
    """Yields all sets in parts that each fit a message; each part of a set carries its id."""
    async with aclosing(sets.each()) as found:
        async for one in found:
            for part in _parts(one.models):
                yield wire.ModelCatalogDetails(catalog_id=identifier(one.id), models=part)
