"""Calls of the Pipelines service.

Every call also raises what the methods of `Connection` raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from claraedge.client.connection import HEADER, Connection
from claraedge.client.prefix import by_prefix, full_id
from claraedge.client.values import PipelineDetails, PipelineFileInfo, PipelineInfo
from claraedge.errors import InvalidPipelineIdError, NotSupportedError, PipelineNotFoundError
from claraedge.pipelines.model import DefinitionFile
from claraedge.wire.claraedge.v1.pipeline_files_pb2 import ListPipelineFilesRequest
from claraedge.wire.claraedge.v1.pipeline_files_pb2_grpc import PipelineFilesStub
from claraedge.wire.nvidia.clara.platform import pipelines_pb2 as pb
from claraedge.wire.nvidia.clara.platform.common_pb2 import Identifier
from claraedge.wire.nvidia.clara.platform.pipelines_pb2_grpc import PipelinesStub

#: Characters of a part in one message: at most 1 MiB of UTF-8. The daemon joins parts of one path.
_PART = 256 * 1024


def create(
    connection: Connection,
    files: Sequence[DefinitionFile],
    metadata: Mapping[str, str] | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Registers a pipeline; returns its id, and warnings about the definition."""
    requests = (
        pb.PipelinesCreateRequest(header=HEADER, definition=part, metadata=metadata or {})
        for part in _parts(files)
    )
    reply = connection.send(PipelinesStub(connection.channel).Create, requests)
    return reply.pipeline_id.value, tuple(reply.header.messages)


def update(
    connection: Connection, pipeline_id: str, files: Sequence[DefinitionFile]
) -> tuple[str, ...]:
    """Replaces the definition of a pipeline; returns warnings about it. Jobs keep the old one."""
    requests = (
        pb.PipelinesUpdateRequest(
            header=HEADER, pipeline_id=Identifier(value=pipeline_id), definition=part
        )
        for part in _parts(files)
    )
    reply = connection.send(PipelinesStub(connection.channel).Update, requests)
    return tuple(reply.header.messages)


def remove(connection: Connection, pipeline_id: str) -> None:
    """Removes a pipeline, so that no new jobs can use it."""
    connection.unary(
        PipelinesStub(connection.channel).Remove,
        pb.PipelinesRemoveRequest(header=HEADER, pipeline_id=Identifier(value=pipeline_id)),
    )


def change_metadata(
    connection: Connection, pipeline_id: str, add: Mapping[str, str], remove: Sequence[str]
) -> dict[str, str]:
    """Removes keys, then adds entries; returns the complete set."""
    stub, pipeline = PipelinesStub(connection.channel), Identifier(value=pipeline_id)
    removed = connection.unary(
        stub.RemoveMetadata,
        pb.PipelinesRemoveMetadataRequest(header=HEADER, pipeline_id=pipeline, keys=remove),
    )
    if not add:
        return dict(removed.metadata)
    added = connection.unary(
        stub.AddMetadata,
        pb.PipelinesAddMetadataRequest(header=HEADER, pipeline_id=pipeline, metadata=add),
    )
    return dict(added.metadata)


def _parts(files: Sequence[DefinitionFile]) -> Iterator[pb.PipelineDefinitionFile]:
    for file in files:
        for start in range(0, max(len(file.content), 1), _PART):
            part = file.content[start : start + _PART]
            yield pb.PipelineDefinitionFile(path=file.path, content=part)


def list_all(connection: Connection) -> list[PipelineInfo]:
    """Returns all pipelines in the order of their creation."""
    replies = connection.stream(
        PipelinesStub(connection.channel).List, pb.PipelinesListRequest(header=HEADER)
    )
    return [
        PipelineInfo(
            id=reply.details.pipeline_id.value,
            name=reply.details.name,
            metadata=dict(reply.details.metadata),
        )
        for reply in replies
        if reply.details.pipeline_id.value
    ]


def files(connection: Connection) -> list[PipelineFileInfo]:
    """Returns the files of `pipelines.d` by name; none if the platform has no such folder."""
    replies = connection.stream(
        PipelineFilesStub(connection.channel).List, ListPipelineFilesRequest()
    )
    try:
        return [
            PipelineFileInfo(
                name=reply.file.name,
                path=reply.file.path,
                pipeline_id=reply.file.pipeline_id,
                pipeline_name=reply.file.pipeline_name,
                gone=reply.file.gone,
                problems=tuple(reply.file.problems),
            )
            for reply in replies
            if reply.HasField("file")
        ]
    except NotSupportedError:
        return []


def details(connection: Connection, pipeline_id: str) -> PipelineDetails:
    """Returns the graph and the files of one pipeline. Raises PipelineNotFoundError."""
    request = pb.PipelinesDetailsRequest(header=HEADER, pipeline_id=Identifier(value=pipeline_id))
    replies = list(connection.stream(PipelinesStub(connection.channel).Details, request))
    if not replies:
        raise PipelineNotFoundError(
            f"there is no pipeline {pipeline_id}; `claraedge list pipelines` shows those there are"
        )
    operators: dict[str, tuple[str, ...]] = {}
    open_nodes = list(replies[0].dag)
    for node in open_nodes:
        if node.name not in operators:
            operators[node.name] = tuple(n.name for n in node.next)
            open_nodes.extend(node.next)
    return PipelineDetails(
        id=replies[0].pipeline_id.value,
        name=replies[0].name,
        metadata=dict(replies[0].metadata),
        operators=operators,
        files=tuple(
            DefinitionFile(path=r.definition.path, content=r.definition.content) for r in replies
        ),
    )


def resolve(connection: Connection, text: str) -> str:
    """Returns the id that `text` means: a full id, a name (its newest pipeline) or a unique prefix.

    Raises InvalidPipelineIdError and PipelineNotFoundError.
    """
    whole = full_id(text)
    if whole is not None:
        return whole
    known = list_all(connection)
    named = [p.id for p in known if p.name.casefold() == text.casefold()]
    if named:
        return named[-1]
    for file in files(connection):
        if file.gone and file.pipeline_name.casefold() == text.casefold():
            raise PipelineNotFoundError(
                f"the pipeline {text} is disabled: its file {file.path} is gone; put it back"
            )
    return by_prefix(
        text,
        [(p.id, p.name) for p in known],
        noun="pipeline",
        invalid=InvalidPipelineIdError,
        missing=PipelineNotFoundError,
        see="claraedge list pipelines",
    )
