"""`claraedge describe job | pipeline | inbox | package | ...`: shows all details of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Nouns, Options, remote
from claraedge.cli.output import clean, lines, local, table
from claraedge.cli.subject import DEPLOYMENT, ITEM, JOB, PACKAGE, PIPELINE, subject
from claraedge.texts import size

if TYPE_CHECKING:
    from claraedge.client.values import (
        ItemInfo,
        JobDetails,
        PipelineDetails,
        PipelineFileInfo,
        SettingInfo,
    )
    from claraedge.pipelines.syntax.problems import Problem


@click.group(cls=Nouns)
def describe() -> None:
    """Show everything about a job, a pipeline, a package, a deployment, and so on."""


@describe.command("job")
@subject("job", JOB)
@click.option(
    "-w", "--watch", "follow", is_flag=True, help="Show the progress until the job has stopped."
)
@remote
def describe_job(options: Options, job: str, follow: bool) -> int:
    """Show a job, and what it waits for. With --watch the exit code is 0 only if it ended well.

    Example: claraedge describe job 3f2a --watch
    """
    from claraedge.client import jobs

    with options.connect() as connection:
        job_id = jobs.resolve(connection, job)
        if follow:
            from claraedge.cli.watch import watch

            return 0 if watch(options, connection, job_id).ended_well else 1
        details = jobs.described(connection, job_id)
    if options.json:
        options.print_json(details)
    else:
        click.echo(lines(job_lines(details)))
    return 0


def job_lines(job: JobDetails) -> list[tuple[str, str]]:
    """Returns the lines of `describe job`, in their order."""
    return [
        ("NAME", job.name),
        ("JOB_ID", job.id),
        ("PIPELINE_ID", job.pipeline_id),
        ("PAYLOAD_ID", job.payload_id),
        ("PRIORITY", job.priority),
        ("CREATED", local(job.created)),
        ("STARTED", local(job.started)),
        ("STOPPED", local(job.stopped)),
        ("STATE", job.state),
        ("STATUS", job.status),
        *(("MESSAGE", message) for message in job.messages),
        *((f"METADATA {key}", value) for key, value in sorted(job.metadata.items())),
        *(
            (f"OPERATOR {o.name}", f"{o.status}  {local(o.started)}  {local(o.stopped)}")
            for o in job.operators
        ),
        *((f"WAITS {w.operator}".rstrip(), w.text) for w in job.waits),
    ]


@describe.command("inbox")
@subject("item", ITEM)
@remote
def describe_inbox(options: Options, item: str) -> None:
    """Show an item of the drop folder.

    ITEM is an id or its beginning, a name that only one item has, or FOLDER/NAME.

    Example: claraedge describe inbox scan.dcm
    """
    from claraedge.client import appliance

    with options.connect() as connection:
        found = appliance.item(connection, appliance.resolve_item(connection, item))
    if options.json:
        options.print_json(found)
    else:
        click.echo(lines(item_lines(found)))


def item_lines(item: ItemInfo) -> list[tuple[str, str]]:
    """Returns the lines of `describe inbox`, in their order."""
    found = (
        ("NAME", item.name),
        ("ITEM_ID", item.id),
        ("FOLDER", item.folder),
        ("PIPELINE", item.pipeline),
        ("STATE", item.state),
        ("REASON", item.reason),
        ("TO DO", item.remedy),
        ("FIRST SEEN", local(item.first_seen)),
        ("SIZE", size(item.size)),
        ("SHA256", item.digest),
        ("SAME AS", item.duplicate_of),
        ("JOB_ID", item.job_id),
        ("RESULTS" if item.state == "DELIVERED" else "KEPT AT", item.result_path),
        ("REMOVED", local(item.removed) if item.removed else ""),
        ("ORIGINAL", item.original_path),
        ("ORIGINAL REMOVED", local(item.original_removed) if item.original_removed else ""),
        *(("MEMBER", member) for member in item.members),
        ("MORE MEMBERS", str(item.members_left_out or "")),
    )
    return [(name, text) for name, text in found if text]


@describe.command("names")
@remote
def describe_names(options: Options) -> None:
    """Show which file names are not content of users: unfinished files, and files of programs.

    The first row that matches a name decides. The configuration adds rows in [names].
    """
    from claraedge.client import appliance

    with options.connect() as connection:
        rows = appliance.names(connection).rows
    if options.json:
        options.print_json({"names": [{**asdict(row), "kind": row.kind.value} for row in rows]})
    else:
        cells = [(row.kind.value, clean(row.pattern), row.program, row.source) for row in rows]
        click.echo(table(("KIND", "NAME", "PROGRAM", "SOURCE"), cells))


@describe.command("settings")
@click.option(
    "-c", "--changed", is_flag=True, help="Show only settings whose value is not the default."
)
@remote
def describe_settings(options: Options, changed: bool) -> None:
    """Show all settings of the daemon: their values, and where each comes from.

    Values that may contain passwords are not shown. docs/settings.md says what each setting does.
    """
    from claraedge.client import appliance

    with options.connect() as connection:
        found = appliance.settings(connection)
    if changed:
        found = [setting for setting in found if not setting.is_default]
    if options.json:
        options.print_json({"settings": found})
    else:
        cells = [
            (clean(s.key), "(not shown)" if s.secret else clean(s.value), _origin(s)) for s in found
        ]
        click.echo(table(("SETTING", "VALUE", "FROM"), cells))


def _origin(setting: SettingInfo) -> str:
    place = clean(setting.place) or ("command line" if setting.origin == "option" else "default")
    return f"{place}:{setting.line}" if setting.line else place


@describe.command("pipeline")
@subject("pipeline", PIPELINE)
@remote
def describe_pipeline(options: Options, pipeline: str) -> None:
    """Show a pipeline: its operators, what reads from what, its files, and warnings about them.

    Example: claraedge describe pipeline lines
    """
    import msgspec

    from claraedge.client import pipelines

    with options.connect() as connection:
        details = pipelines.details(connection, pipelines.resolve(connection, pipeline))
        files = pipelines.files(connection)
    source = next((f for f in files if f.pipeline_id == details.id), None)
    problems = _problems(details)
    if options.json:
        more = {
            "problems": problems,
            "source": source.path if source is not None else "",
            "source_problems": source.problems if source is not None else (),
        }
        options.print_json({**msgspec.structs.asdict(details), **more})
    else:
        click.echo(lines(pipeline_lines(details, problems, source)))


def _problems(pipeline: PipelineDetails) -> tuple[Problem, ...]:
    """Returns the problems that this program finds. An error means that the daemon is newer."""
    from claraedge.pipelines.checks.load import load

    return load(pipeline.files).problems


def pipeline_lines(
    pipeline: PipelineDetails, problems: Sequence[Problem], source: PipelineFileInfo | None
) -> list[tuple[str, str]]:
    """Returns the lines of `describe pipeline`, in their order."""
    own = [("SOURCE", source.path)] if source is not None else []
    return [
        ("NAME", pipeline.name),
        ("PIPELINE_ID", pipeline.id),
        *own,
        *(("NOT USED", text) for text in (source.problems if source is not None else ())),
        *((f"METADATA {key}", value) for key, value in sorted(pipeline.metadata.items())),
        *(
            (f"OPERATOR {name}", f"-> {', '.join(readers)}" if readers else "")
            for name, readers in pipeline.operators.items()
        ),
        *(("FILE", f"{f.path} ({len(f.content)} characters)") for f in pipeline.files),
        *((p.severity.upper(), str(p)) for p in problems),
    ]


@describe.command("package")
@subject("package", PACKAGE)
@remote
def describe_package(options: Options, package: str) -> None:
    """Show a package: its plans, components, executables, parameters and endpoints.

    PACKAGE is an id, a name (its newest version) or NAME:VERSION. JSON has the manifest as well.

    Example: claraedge describe package camera:v2
    """
    from claraedge.cli.deployment_lines import package_lines
    from claraedge.client.packages import catalogue

    with options.connect() as connection:
        found = catalogue.get(connection, package)
    if options.json:
        options.print_json(found)
    else:
        click.echo(lines(package_lines(found)))


@describe.command("deployment")
@subject("deployment", DEPLOYMENT)
@click.option(
    "-w", "--watch", "follow", is_flag=True, help="Print each change until it has stopped."
)
@remote
def describe_deployment(options: Options, deployment: str, follow: bool) -> int:
    """Show a deployment: what runs, what it waits for, why it failed, the last lines of its logs.

    With --watch the exit code is 0 only if it was undeployed.

    Example: claraedge describe deployment front
    """
    from claraedge.cli.deployment_lines import deployment_lines
    from claraedge.client.packages import deployments

    with options.connect() as connection:
        found = deployments.get(connection, deployment)
        if follow:
            from claraedge.cli.watch_deployment import is_over, watch_deployment

            found = watch_deployment(options, connection, found.id, until=is_over, show=True)
            return 0 if found.phase == "STOPPED" else 1
    if options.json:
        options.print_json(found)
    else:
        click.echo(lines(deployment_lines(found)))
    return 0
