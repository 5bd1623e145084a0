"""`claraedge render`: prints the definition with everything resolved, and its graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from claraedge.cli.check import as_json, show
from claraedge.cli.options import output, pairs, print_json, variables
from claraedge.errors import PipelineLoadError

if TYPE_CHECKING:
    from claraedge.pipelines.model import Pipeline


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@variables
@click.option(
    "--graph",
    type=click.Choice(["text", "dot", "mermaid"]),
    help="Only the graph: by levels for people, for Graphviz, or for Mermaid.",
)
@output
def render(
    files: tuple[Path, ...], variable: tuple[str, ...], graph: str | None, json: bool
) -> int:
    """Print a pipeline's definition with its imports written out and its placeholders filled.

    The first FILE is the pipeline; what it imports is read from the disk. The graph follows as
    comments, operators by levels: each waits for earlier levels only.

    A placeholder without a value stays, with a warning.
    """
    from claraedge.cli.definition import DefinitionReader
    from claraedge.pipelines.export import drawing
    from claraedge.pipelines.export.render import definition, with_graph

    given = pairs(variable, "--variable")
    disk = DefinitionReader(given)
    first, *more = [disk.named(path) for path in files]
    whole = disk.definition(first, more)
    found = whole.load(given, final=False, whole=True)
    if found.pipeline is None:
        if json:
            print_json(as_json([s.shown for s in disk.reached([first, *more])], found.problems))
        else:
            show(found.problems, err=True)
        return 1
    text = definition(found.pipeline)
    _prove(text, found.pipeline)
    if json:
        print_json(
            {
                "pipeline": found.pipeline,
                "definition": text,
                "order": drawing.levels(found.pipeline),
                "warnings": found.problems,
            }
        )
        return 0
    show(found.problems, err=True)
    drawn = with_graph(found.pipeline) if graph is None else drawing.FORMS[graph](found.pipeline)
    click.echo(drawn, nl=False)
    return 0


def _prove(text: str, pipeline: Pipeline) -> None:
    """Raises PipelineLoadError if loading the text does not result in this pipeline.

    The value of a variable may contain text that a definition cannot express (`${{`), and operators
    from files with different api-versions may not fit into one file.
    """
    from claraedge.pipelines.checks.load import load
    from claraedge.pipelines.model import DefinitionFile

    again = load([DefinitionFile(path="the definition in one file", content=text)])
    if again.pipeline != pipeline:
        raise PipelineLoadError(
            f"the pipeline {pipeline.name!r} is right, but it cannot be written as one file; keep"
            " its files",
            *map(str, again.errors),
        )
