"""`claraedge update pipeline | job | payload | deployment`: changes definitions and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from claraedge.cli.create import show_warnings
from claraedge.cli.options import Nouns, Options, metadata, pairs, remote
from claraedge.cli.output import lines
from claraedge.cli.subject import DEPLOYMENT, JOB, PAYLOAD, PIPELINE, subject

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_REMOVE = click.option(
    "--remove-metadata",
    "removed",
    multiple=True,
    metavar="KEY",
    help="Key to remove. Can be repeated.",
)


@click.group(cls=Nouns)
def update() -> None:
    """Change a pipeline, a deployment, or the metadata of a pipeline, a job or a payload."""


@update.command("pipeline")
@subject("pipeline", PIPELINE, before="files")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=_FILE)
@metadata
@_REMOVE
@remote
def update_pipeline(
    options: Options,
    pipeline: str,
    files: tuple[Path, ...],
    metadata: tuple[str, ...],
    removed: tuple[str, ...],
) -> None:
    """Replace the definition of a pipeline by FILEs; existing jobs keep the old one.

    The first FILE is the pipeline. What it imports is read from the disk and sent along. With
    --pipeline, all arguments are FILEs.

    Example: claraedge update pipeline lines lines.yaml
    """
    from claraedge.cli.definition import of_files
    from claraedge.client import pipelines

    if not files:
        _demand_change(metadata, removed, "FILE, ")
    entries = pairs(metadata, "--metadata")
    definition = of_files(files).files if files else ()
    warnings: tuple[str, ...] = ()
    with options.connect() as connection:
        pipeline_id = pipelines.resolve(connection, pipeline)
        if definition:
            warnings = pipelines.update(connection, pipeline_id, definition)
        whole = pipelines.change_metadata(connection, pipeline_id, entries, removed)
    if options.json:
        options.print_json({"pipeline_id": pipeline_id, "warnings": warnings, "metadata": whole})
        return
    show_warnings(warnings)
    _show("PIPELINE_ID", pipeline_id, whole)


@update.command("job")
@subject("job", JOB)
@metadata
@_REMOVE
@remote
def update_job(
    options: Options, job: str, metadata: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """Change the metadata of a job; prints all that it then has.

    Example: claraedge update job 3f2a --metadata Source=CT1
    """
    from claraedge.client import jobs

    _demand_change(metadata, removed)
    entries = pairs(metadata, "--metadata")
    with options.connect() as connection:
        job_id = jobs.resolve(connection, job)
        whole = jobs.change_metadata(connection, job_id, entries, removed)
    _print(options, "job_id", job_id, whole)


@update.command("payload")
@subject("payload", PAYLOAD)
@metadata
@_REMOVE
@remote
def update_payload(
    options: Options, payload: str, metadata: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """Change the metadata of a reusable payload; prints all that it then has.

    Example: claraedge update payload 52a0f6b1c9d34e7e8a1b2c3d4e5f6071 -m Size=2
    """
    from claraedge.client import payloads

    _demand_change(metadata, removed)
    entries = pairs(metadata, "--metadata")
    with options.connect() as connection:
        payload_id = payloads.resolve(connection, payload)
        whole = payloads.change_metadata(connection, payload_id, entries, removed)
    _print(options, "payload_id", payload_id, whole)


@update.command("deployment")
@subject("deployment", DEPLOYMENT)
@click.option("-e", "--executable", required=True, help="Id or name of the executable.")
@click.option("-i", "--image", default="", help="The new image.")
@click.option(
    "-c",
    "--command",
    "lines",
    multiple=True,
    help="A line of the new command for the shell of the image; can be repeated. An empty text"
    " means the entry point of the image.",
)
@click.option("-w", "--wait", "wait", is_flag=True, help="Wait until it runs or has failed.")
@remote
def update_deployment(
    options: Options,
    deployment: str,
    executable: str,
    image: str,
    lines: tuple[str, ...],
    wait: bool,
) -> None:
    """Change the image or the command of an executable, which is then started again; prints the id.

    If the new one does not start, the old one is started again.

    Example: claraedge update deployment front --executable main --image camera:3 --wait
    """
    from claraedge.cli.watch_deployment import is_settled, refuse_failed, watch_deployment
    from claraedge.client.packages import deployments

    if not image and not lines:
        raise click.UsageError(
            "nothing to change: give --image IMAGE or --command LINE", click.get_current_context()
        )
    command = None if not lines else tuple(line for line in lines if line)
    with options.connect() as connection:
        changed = deployments.update(
            connection, deployment, executable, image=image, command=command
        )
        if not options.json:
            click.echo(f"DEPLOYMENT_ID:{changed.id}")
        if wait:
            changed = watch_deployment(
                options, connection, changed.id, until=is_settled, show=not options.json
            )
    if options.json:
        options.print_json(changed)
    if wait:
        refuse_failed(changed)


def _demand_change(metadata: tuple[str, ...], removed: tuple[str, ...], more: str = "") -> None:
    if not metadata and not removed:
        raise click.UsageError(
            f"nothing to change: give {more}--metadata KEY=VALUE or --remove-metadata KEY",
            click.get_current_context(),
        )


def _print(options: Options, key: str, identifier: str, whole: Mapping[str, str]) -> None:
    if options.json:
        options.print_json({key: identifier, "metadata": whole})
    else:
        _show(key.upper(), identifier, whole)


def _show(key: str, identifier: str, whole: Mapping[str, str]) -> None:
    entries = [(f"METADATA {name}", value) for name, value in sorted(whole.items())]
    click.echo(lines([(key, identifier), *entries]))
