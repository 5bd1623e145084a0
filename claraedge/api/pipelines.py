"""`nvidia.clara.platform.Pipelines`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from claraedge.api.answers import ok
from claraedge.api.translate import id_of, identifier
from claraedge.errors import InvalidPipelineIdError, PipelineDefinitionError, PipelineLoadError
from claraedge.pipelines.model import DefinitionFile, Pipeline
from claraedge.registry.pipelines import Pipelines, check_definition
from claraedge.wire.nvidia.clara.platform import pipelines_pb2 as wire

#: A definition is at most so many bytes; a stream that sends more is refused on the way.
_MAX_STREAM = 32 * 1024 * 1024


class PipelinesServicer:
    """Create, Details, List."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    async def Create(
        self, requests: AsyncIterator[wire.PipelinesCreateRequest]
    ) -> wire.PipelinesCreateResponse:
        parts: list[DefinitionFile] = []
        forced: str | None = None
        metadata: dict[str, str] = {}
        size = 0
        async for request in requests:
            # The Python client repeats id and metadata on every message.
            if request.HasField("pipeline_id") and request.pipeline_id.value:
                forced = id_of(request.pipeline_id, "pipeline", InvalidPipelineIdError)
            metadata.update(request.metadata)
            if request.HasField("definition"):
                part = request.definition
                size += len(part.content)
                if size > _MAX_STREAM:
                    raise PipelineDefinitionError(
                        f"the definition is larger than {_MAX_STREAM} bytes; make it smaller"
                    )
                parts.append(DefinitionFile(path=part.path, content=part.content))
        created = await self._pipelines.create(parts, metadata, forced)
        return wire.PipelinesCreateResponse(
            header=ok(*created.warnings), pipeline_id=identifier(created.id)
        )

    async def Details(
        self, request: wire.PipelinesDetailsRequest
    ) -> AsyncIterator[wire.PipelinesDetailsResponse]:
        pipeline = await self._pipelines.get(
            id_of(request.pipeline_id, "pipeline", InvalidPipelineIdError)
        )
        try:
            graph = _graph(check_definition(pipeline.files))
        except PipelineLoadError:  # a later version may refuse what an earlier one took
            graph = []
        for number, file in enumerate(pipeline.files):
            first = number == 0
            yield wire.PipelinesDetailsResponse(
                header=ok(),
                pipeline_id=identifier(pipeline.id),
                name=pipeline.name,
                definition=wire.PipelineDefinitionFile(path=file.path, content=file.content),
                dag=graph if first else (),
                metadata=pipeline.metadata if first else {},
            )

    async def List(
        self, request: wire.PipelinesListRequest
    ) -> AsyncIterator[wire.PipelinesListResponse]:
        pipelines = await self._pipelines.list()
        if not pipelines:
            yield wire.PipelinesListResponse(header=ok())
        for pipeline in pipelines:
            yield wire.PipelinesListResponse(
                header=ok(),
                details=wire.PipelinesListResponse.PipelineDetails(
                    pipeline_id=identifier(pipeline.id),
                    name=pipeline.name,
                    metadata=pipeline.metadata,
                ),
            )


def _graph(pipeline: Pipeline) -> list[wire.PipelinesDetailsResponse.PipelineDagNode]:
    """The root nodes with what follows them.

    A node that is reached twice carries its successors at the first place only: every edge is
    there once, and the message does not grow with the number of paths.
    """
    downstream = pipeline.downstream()
    expanded: set[str] = set()

    def node(name: str) -> wire.PipelinesDetailsResponse.PipelineDagNode:
        result = wire.PipelinesDetailsResponse.PipelineDagNode(name=name)
        if name not in expanded:
            expanded.add(name)
            result.next.extend(node(follower) for follower in downstream[name])
        return result

    return [node(name) for name in pipeline.roots()]
