"""`claraedge download` and `claraedge upload`: transfer files of jobs and payloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Options, remote
from claraedge.cli.output import clean, progress
from claraedge.formats.filenames import Names

if TYPE_CHECKING:
    from claraedge.client import Connection
    from claraedge.client.payloads import Gathered


@click.command()
@click.argument("source", metavar="ID:PATH")
@click.argument("destination", metavar="[DEST]", default=".", type=click.Path(path_type=Path))
@remote
def download(options: Options, source: str, destination: Path) -> None:
    """Download files of a job or payload.

    PATH is a file, a folder (/ is all), or a pattern such as /operators/report/* in quotes; * also
    matches /. DEST is the folder for the files (created if necessary), or, for one file, its new
    name.

    Example: claraedge download '3f2a:/operators/report/*' report
    """
    from claraedge.client import payloads

    identifier, colon, pattern = source.partition(":")
    if pattern and not pattern.strip("./"):
        pattern = "*"
    if not colon or not identifier or not pattern:
        raise click.BadParameter(
            f"{source!r} is not ID:PATH, such as 1f3a:/operators/report/*", param_hint="ID:PATH"
        )
    with options.connect() as connection:
        payload_id = payloads.resolve(connection, identifier)
        chosen, single = payloads.select(payloads.list_files(connection, payload_id), pattern)
        rename = single and not destination.is_dir()
        written = []
        with progress("download", sum(file.size for file, _ in chosen)) as received:
            for file, name in chosen:
                target = destination if rename else destination / name
                payloads.download(connection, payload_id, file.name, target, received)
                written.append({"name": file.name, "size": file.size, "path": str(target)})
                if not options.json:
                    click.echo(clean(str(target)))
    if options.json:
        options.print_json({"payload_id": payload_id, "files": written})


@click.command()
@click.argument("identifier", metavar="ID")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@remote
def upload(options: Options, identifier: str, files: tuple[Path, ...]) -> None:
    """Store files in a payload, or as inputs of a job that was not started.

    A folder is stored with all files in it. All files appear together; after an error, none.

    Example: claraedge upload 3f2a scan.dcm
    """
    from claraedge.client import payloads

    with options.connect() as connection:
        gathered = gather(connection, files)
        payload_id = payloads.resolve(connection, identifier.removesuffix(":"))
        with progress("upload", gathered.size) as sent:
            payloads.upload(connection, payload_id, gathered.files, sent)
    if options.json:
        options.print_json({"payload_id": payload_id, "files": list(gathered.files)})
        return
    for name in gathered.files:
        click.echo(clean(name))


def gather(connection: Connection, paths: Sequence[Path]) -> Gathered:
    """Returns the files to upload, by the device's table of names; prints which are left out."""
    from claraedge.client import payloads

    gathered = payloads.gather(paths, names_of(connection, paths))
    by_program: dict[str, list[str]] = {}
    for name, program in gathered.left_out.items():
        by_program.setdefault(program, []).append(name)
    for program, names in by_program.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        click.echo(
            f"claraedge: left out: {clean(names[0])}{more}, which belongs to a program ({program});"
            " give its own path to upload it",
            err=True,
        )
    return gathered


def names_of(connection: Connection, paths: Sequence[Path]) -> Names:
    """Returns the device's table of names if a path is a folder; else an empty one.

    A file that is given by its own path is uploaded whatever its name is.
    """
    from claraedge.client import appliance

    return appliance.names(connection) if any(path.is_dir() for path in paths) else Names(())
