"""Serves `nvidia.clara.platform.Pipelines` and `claraedge.v1.PipelineFiles`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing

from claraedge import memory
from claraedge.api.answers import ok
from claraedge.api.translate import MAX_MESSAGE, id_of, identifier
from claraedge.blocking import in_thread
from claraedge.errors import (
    InvalidMetadataError,
    InvalidPipelineIdError,
    PipelineDefinitionError,
    PipelineLoadError,
)
from claraedge.pipelines.model import DefinitionFile, Pipeline
from claraedge.registry.folder import PipelineFile, PipelineFolder
from claraedge.registry.pipelines import MAX_PATH_BYTES, Pipelines, check_definition
from claraedge.wire.claraedge.v1 import pipeline_files_pb2 as own
from claraedge.wire.nvidia.clara.platform import pipelines_pb2 as wire

#: Maximum bytes of a definition; a stream that sends more is refused at once.
_MAX_STREAM = 32 * 1024 * 1024
#: Bytes that a part counts in addition to its text.
_PART_COST = 64
#: Minimum characters of a part of a file in a message, however large the other fields are.
_LEAST_PART = 1024
#: Maximum nesting depth of the nodes of the graph.
_DEPTH = 64


class PipelinesServicer:
    """Implements AddMetadata, Create, Details, List, Remove, RemoveMetadata, Update."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    async def Create(
        self, requests: AsyncIterator[wire.PipelinesCreateRequest]
    ) -> wire.PipelinesCreateResponse:
        """Answers Pipelines.Create.

        Raises InvalidMetadataError if a key has two values in the stream.
        """
        sent = _Sent()
        metadata: dict[str, str] = {}
        async for request in requests:
            sent.add(request)
            # The Python client repeats the metadata on every message.
            for key, value in request.metadata.items():
                if key not in metadata:
                    memory.take(memory.of_text(key, value))
                if metadata.setdefault(key, value) != value:
                    raise InvalidMetadataError(
                        f"the metadata key {key[:40]!r} has two values in the stream; give one"
                    )
        created = await self._pipelines.create(sent.parts, metadata, sent.pipeline)
        return wire.PipelinesCreateResponse(
            header=ok(*created.warnings), pipeline_id=identifier(created.id)
        )

    async def Update(
        self, requests: AsyncIterator[wire.PipelinesUpdateRequest]
    ) -> wire.PipelinesUpdateResponse:
        """Answers Pipelines.Update.

        Raises InvalidPipelineIdError if the stream names no pipeline.
        """
        sent = _Sent()
        async for request in requests:
            sent.add(request)
        if sent.pipeline is None:
            raise InvalidPipelineIdError("the request names no pipeline; set its id")
        updated = await self._pipelines.update(sent.pipeline, sent.parts)
        return wire.PipelinesUpdateResponse(header=ok(*updated.warnings))

    async def Remove(self, request: wire.PipelinesRemoveRequest) -> wire.PipelinesRemoveResponse:
        await self._pipelines.remove(_pipeline_id(request))
        return wire.PipelinesRemoveResponse(header=ok())

    async def AddMetadata(
        self, request: wire.PipelinesAddMetadataRequest
    ) -> wire.PipelinesAddMetadataResponse:
        pipeline = _pipeline_id(request)
        entries = await self._pipelines.add_metadata(pipeline, dict(request.metadata))
        return wire.PipelinesAddMetadataResponse(
            header=ok(), pipeline_id=identifier(pipeline), metadata=entries
        )

    async def RemoveMetadata(
        self, request: wire.PipelinesRemoveMetadataRequest
    ) -> wire.PipelinesRemoveMetadataResponse:
        pipeline = _pipeline_id(request)
        entries = await self._pipelines.remove_metadata(pipeline, list(request.keys))
        return wire.PipelinesRemoveMetadataResponse(
            header=ok(), pipeline_id=identifier(pipeline), metadata=entries
        )

    async def Details(
        self, request: wire.PipelinesDetailsRequest
    ) -> AsyncIterator[wire.PipelinesDetailsResponse]:
        pipeline = await self._pipelines.get(_pipeline_id(request))
        memory.take(sum(memory.of_text(file.path, file.content) for file in pipeline.files))
        try:
            graph = _graph(await in_thread(check_definition, pipeline.files))
        except PipelineLoadError:  # a newer version may refuse what an older one accepted
            graph = []
        response = wire.PipelinesDetailsResponse(
            header=ok(),
            pipeline_id=identifier(pipeline.id),
            name=pipeline.name,
            dag=graph,
            metadata=pipeline.metadata,
        )
        # A large file is sent in parts with the same path, as uploads may do; the original client
        # makes an entry of each message, so a file is split only if necessary.
        for file in pipeline.files:
            rest = file.content
            while True:
                room = max(_LEAST_PART, (MAX_MESSAGE - response.ByteSize()) // 4 - MAX_PATH_BYTES)
                part, rest = rest[:room], rest[room:]
                response.definition.path = file.path
                response.definition.content = part
                yield response
                response = wire.PipelinesDetailsResponse(
                    header=ok(), pipeline_id=identifier(pipeline.id), name=pipeline.name
                )
                if not rest:
                    break

    async def List(
        self, request: wire.PipelinesListRequest
    ) -> AsyncIterator[wire.PipelinesListResponse]:
        empty = True
        async with aclosing(self._pipelines.each()) as pipelines:
            async for pipeline in pipelines:
                empty = False
                yield wire.PipelinesListResponse(
                    header=ok(),
                    details=wire.PipelinesListResponse.PipelineDetails(
                        pipeline_id=identifier(pipeline.id),
                        name=pipeline.name,
                        metadata=pipeline.metadata,
                    ),
                )
        if empty:
            yield wire.PipelinesListResponse(header=ok())


class PipelineFilesServicer:
    """Implements List."""

    def __init__(self, folder: PipelineFolder) -> None:
        self._folder = folder

    async def List(
        self, request: own.ListPipelineFilesRequest
    ) -> AsyncIterator[own.ListPipelineFilesResponse]:
        found = await self._folder.files()
        if not found:
            yield own.ListPipelineFilesResponse()
        for file in found:
            yield own.ListPipelineFilesResponse(file=_file(file))


def _file(file: PipelineFile) -> own.PipelineFile:
    pipeline = file.pipeline
    return own.PipelineFile(
        name=file.name,
        path=file.path,
        pipeline_id="" if pipeline is None else pipeline.id,
        pipeline_name="" if pipeline is None else pipeline.name,
        gone=pipeline is not None and pipeline.gone,
        problems=file.problems,
    )


class _Sent:
    """The combined content of the messages of a Create or an Update."""

    def __init__(self) -> None:
        self.pipeline: str | None = None
        self.parts: list[DefinitionFile] = []
        self._size = 0

    def add(self, request: wire.PipelinesCreateRequest | wire.PipelinesUpdateRequest) -> None:
        """Adds a message. The original client repeats the id in each.

        Raises InvalidPipelineIdError if the id changes, and PipelineDefinitionError if the
        definition is too large.
        """
        if request.pipeline_id.value:
            named = _pipeline_id(request)
            if self.pipeline not in (None, named):
                raise InvalidPipelineIdError(
                    f"the stream changes from pipeline {self.pipeline} to {named};"
                    " use a stream for each"
                )
            self.pipeline = named
        if request.HasField("definition"):
            part = request.definition
            memory.take(memory.of_text(part.path, part.content))
            self._size += len(part.content) + len(part.path) + _PART_COST
            if self._size > _MAX_STREAM:
                raise PipelineDefinitionError(
                    f"the definition is larger than {_MAX_STREAM} bytes; make it smaller"
                )
            self.parts.append(DefinitionFile(path=part.path, content=part.content))


def _pipeline_id(
    request: wire.PipelinesCreateRequest
    | wire.PipelinesUpdateRequest
    | wire.PipelinesDetailsRequest
    | wire.PipelinesRemoveRequest
    | wire.PipelinesAddMetadataRequest
    | wire.PipelinesRemoveMetadataRequest,
) -> str:
    return id_of(request.pipeline_id, "pipeline", InvalidPipelineIdError)


def _graph(pipeline: Pipeline) -> list[wire.PipelinesDetailsResponse.PipelineDagNode]:
    """Returns the root nodes of the graph with their successors.

    A node that is reached twice has its successors only at the first place: every edge appears
    once, and the message does not grow with the number of paths. A node at depth _DEPTH continues
    as a further entry of the list, because no client decodes messages that nest 100 deep.
    """
    downstream = pipeline.downstream()
    expanded: set[str] = set()
    starts = deque(pipeline.roots())

    def node(name: str, depth: int) -> wire.PipelinesDetailsResponse.PipelineDagNode:
        result = wire.PipelinesDetailsResponse.PipelineDagNode(name=name)
        if name in expanded:
            return result
        if depth == _DEPTH:
            starts.append(name)
            return result
        expanded.add(name)
        result.next.extend(node(follower, depth + 1) for follower in downstream[name])
        return result

    nodes = []
    while starts:
        name = starts.popleft()
        if name not in expanded:
            nodes.append(node(name, 0))
    return nodes
