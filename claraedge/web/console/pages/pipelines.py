"""The pages of pipelines: which there are, and what one of them does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from claraedge.blocking import in_thread
from claraedge.pipelines.checks.load import Loaded, load_files
from claraedge.pipelines.export.drawing import edges
from claraedge.pipelines.model import DefinitionFile, Pipeline
from claraedge.pipelines.syntax.problems import Problem
from claraedge.web.console.graph import Node, drawn
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.console.words import words
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import pipeline_files_pb2
from claraedge.wire.nvidia.clara.platform import common_pb2, pipelines_pb2

#: Pipelines and files on a page.
MOST = 300
#: Bytes and lines of a definition on its page.
_BYTES, _LINES = 50_000, 1000
#: Operators that are drawn.
_DRAWN = 100
#: Characters of an image's name in the graph.
_IMAGE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of a definition, with what is wrong or has no effect there."""

    text: str
    problems: Sequence[Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A file of a definition as it is shown."""

    path: str
    lines: Sequence[_Line]
    more: int
    """Lines that are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPipeline:
    """A registered pipeline."""

    id: str
    name: str
    files: Sequence[DefinitionFile]


class PipelinePages:
    """Lists pipelines, and shows their definitions."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/pipelines", self._list)
        yield self._pages.get("/ui/pipelines/{pipeline}", self._show)

    async def _list(self, visit: Visit) -> None:
        found = await listed(visit)
        files = await _files(visit)
        await visit.show(
            "pipelines.html",
            pipelines=found[:MOST],
            more=len(found) > MOST,
            files={one.pipeline_id: one for one in files},
            wrong=[one for one in files if one.problems or one.gone],
        )

    async def _show(self, visit: Visit) -> None:
        pipeline = await registered(visit)
        loaded = await in_thread(load_files, pipeline.files)
        operators = loaded.pipeline.operators if loaded.pipeline else ()
        files = [one for one in await _files(visit) if one.pipeline_id == pipeline.id]
        await visit.show(
            "pipeline.html",
            pipeline=pipeline,
            file=files[0] if files else None,
            graph=_graph(loaded.pipeline, words(visit.language)("pipeline.graph")),
            operators=operators[:_DRAWN],
            left_out=max(0, len(operators) - _DRAWN),
            problems=loaded.problems,
            sources=_sources(pipeline.files, loaded),
        )


async def listed(visit: Visit) -> list[pipelines_pb2.PipelinesListResponse.PipelineDetails]:
    """Returns the first pipelines: one more than `MOST` if there are more. Raises HttpError."""
    answers = await visit.some(
        "nvidia.clara.platform.Pipelines/List",
        pipelines_pb2.PipelinesListRequest(),
        pipelines_pb2.PipelinesListResponse,
        MOST + 1,
    )
    return [one.details for one in answers if one.HasField("details")]


async def registered(visit: Visit) -> ShownPipeline:
    """Returns the pipeline that the path names. Raises HttpError."""
    request = pipelines_pb2.PipelinesDetailsRequest(
        pipeline_id=common_pb2.Identifier(value=visit.request.parameters["pipeline"])
    )
    answers = await visit.some(
        "nvidia.clara.platform.Pipelines/Details",
        request,
        pipelines_pb2.PipelinesDetailsResponse,
        1000,
    )
    files = [
        DefinitionFile(path=one.definition.path, content=one.definition.content) for one in answers
    ]
    return ShownPipeline(id=answers[0].pipeline_id.value, name=answers[0].name, files=files)


async def _files(visit: Visit) -> Sequence[pipeline_files_pb2.PipelineFile]:
    answers = await visit.some(
        "claraedge.v1.PipelineFiles/List",
        pipeline_files_pb2.ListPipelineFilesRequest(),
        pipeline_files_pb2.ListPipelineFilesResponse,
        MOST,
    )
    return [one.file for one in answers if one.HasField("file")]


def _graph(pipeline: Pipeline | None, title: str) -> Markup:
    if pipeline is None or len(pipeline.operators) > _DRAWN:
        return Markup("")
    reads: dict[str, list[str]] = {one.name: [] for one in pipeline.operators}
    order: dict[str, list[str]] = {one.name: [] for one in pipeline.operators}
    for edge in edges(pipeline):
        (order if edge.order else reads)[edge.target].append(edge.source)
    nodes = [
        Node(
            name=one.name,
            after=reads[one.name],
            follows=order[one.name],
            kind="plain",
            label=_cut(one.container.reference),
        )
        for one in pipeline.operators
    ]
    return drawn(nodes, title)


def _cut(image: str) -> str:
    return image if len(image) <= _IMAGE else f"…{image[1 - _IMAGE :]}"


def _sources(files: Sequence[DefinitionFile], loaded: Loaded) -> Sequence[_Source]:
    """Returns the beginning of the definition, as far as a page has room for it."""
    problems: dict[tuple[str, int], list[Problem]] = {}
    for problem in loaded.problems:
        problems.setdefault((problem.file, problem.line), []).append(problem)
    size, count, found = _BYTES, _LINES, []
    for file in files:
        lines = file.content.splitlines()
        shown = []
        for number, text in enumerate(lines, 1):
            size -= len(escape(text).encode())
            if size < 0 or count <= 0:
                break
            count -= 1
            shown.append(_Line(text=text, problems=problems.get((file.path, number), ())))
        found.append(_Source(path=file.path, lines=shown, more=len(lines) - len(shown)))
    return found
