"""`claraedge delete models | pipelines | payloads | images`: removes them permanently."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Nouns, Options, remote
from claraedge.cli.output import clean

if TYPE_CHECKING:
    from claraedge.client import Connection


@click.group(cls=Nouns)
def delete() -> None:
    """Delete models, pipelines, payloads or images, for good."""


@delete.command("models")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@remote
def delete_models(options: Options, ids: tuple[str, ...]) -> None:
    """Delete models, also from every catalog and instance; prints the id of each.

    All IDs are checked first: a mistake in one of them deletes nothing.
    """
    from claraedge.client import models

    with options.connect() as connection:
        _delete(options, connection, models.resolve_all(connection, ids), models.delete)


@delete.command("pipelines")
@click.argument("ids", metavar="PIPELINE...", nargs=-1, required=True)
@remote
def delete_pipelines(options: Options, ids: tuple[str, ...]) -> None:
    """Remove pipelines for new jobs; jobs that exist keep theirs. Prints the id of each.

    PIPELINE is an id, or the name (the newest of it). All are checked first: a mistake in one of
    them deletes nothing.
    """
    from claraedge.client import pipelines

    with options.connect() as connection:
        found = dict.fromkeys(pipelines.resolve(connection, text) for text in ids)
        for pipeline_id in found:
            pipelines.details(connection, pipeline_id)
        _delete(options, connection, found, pipelines.remove)


@delete.command("payloads")
@click.argument("ids", metavar="ID[:PATH]...", nargs=-1, required=True)
@remote
def delete_payloads(options: Options, ids: tuple[str, ...]) -> None:
    """Delete payloads, or with PATH files of theirs; prints what is gone.

    ID is that of a payload or of a job; a job's payload goes once the job has stopped and its
    results are delivered. PATH is as in `claraedge download`. All are checked first: a mistake in
    one of them deletes nothing.
    """
    from claraedge.client import payloads

    with options.connect() as connection:
        found: dict[str, tuple[str, str]] = {}
        for text in ids:
            identifier, colon, pattern = text.partition(":")
            if colon and not pattern.strip("./"):
                raise click.BadParameter(f"{text!r} names no file", param_hint="ID:PATH")
            payload_id = payloads.resolve(connection, identifier)
            files = payloads.list_files(connection, payload_id)
            if not colon:
                found[payload_id] = (payload_id, "")
                continue
            for file, _ in payloads.select(files, pattern)[0]:
                found[f"{payload_id}:{file.name}"] = (payload_id, file.name)

        def remove(connection: Connection, what: str) -> None:
            payload_id, name = found[what]
            if name:
                payloads.remove(connection, payload_id, name)
            else:
                payloads.delete(connection, payload_id)

        _delete(options, connection, found, remove)


@delete.command("images")
@click.argument("references", metavar="NAME...", nargs=-1, required=True)
@remote
def delete_images(options: Options, references: tuple[str, ...]) -> None:
    """Remove images from the device; prints what is gone.

    NAME is a name as `claraedge list images` shows it, or an id. Where an image has several names,
    NAME removes only that name. An image that jobs use stays, unless it is damaged. One whose
    archive lies in images.d is loaded again: remove the archive first.
    """
    from claraedge.client import appliance

    with options.connect() as connection:
        _delete(options, connection, references, appliance.remove_image)


def _delete(
    options: Options,
    connection: Connection,
    ids: Iterable[str],
    delete_one: Callable[[Connection, str], object],
) -> None:
    """Deletes one by one and prints each id at once, so that printed ids are deleted on error."""
    deleted = []
    for identifier in ids:
        delete_one(connection, identifier)
        deleted.append(identifier)
        if not options.json:
            click.echo(clean(identifier))
    if options.json:
        options.print_json({"deleted": deleted})
