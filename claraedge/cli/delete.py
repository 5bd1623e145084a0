"""`claraedge delete models | pipelines | payloads | images | packages | ...`: removes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Nouns, Options, remote
from claraedge.cli.output import clean
from claraedge.cli.subject import ITEM, MODEL, NETWORK, PACKAGE, PIPELINE, ROUTE, Kind, subject

if TYPE_CHECKING:
    from claraedge.client import Connection

_FILES = Kind(noun="payload", metavar="ID[:PATH]")
_IMAGE = Kind(noun="image", metavar="NAME")


@click.group(cls=Nouns)
def delete() -> None:
    """Delete models, pipelines, payloads, images, packages, failed items, routes or networks."""


@delete.command("models")
@subject("ids", MODEL, several=True)
@remote
def delete_models(options: Options, ids: tuple[str, ...]) -> None:
    """Delete models, also from every catalog and instance; prints the id of each.

    All IDs are checked first: if one is wrong, nothing is deleted.

    Example: claraedge delete models 7c01 9be4
    """
    from claraedge.client import models

    with options.connect() as connection:
        _delete(options, connection, models.resolve_all(connection, ids), models.delete)


@delete.command("pipelines")
@subject("ids", PIPELINE, several=True)
@remote
def delete_pipelines(options: Options, ids: tuple[str, ...]) -> None:
    """Delete pipelines; prints the id of each. Existing jobs keep their pipeline.

    PIPELINE is an id, or a name (the newest of that name). All are checked first: if one is wrong,
    nothing is deleted.

    Example: claraedge delete pipelines lines
    """
    from claraedge.client import pipelines

    with options.connect() as connection:
        found = dict.fromkeys(pipelines.resolve(connection, text) for text in ids)
        for pipeline_id in found:
            pipelines.details(connection, pipeline_id)
        _delete(options, connection, found, pipelines.remove)


@delete.command("payloads")
@subject("ids", _FILES, several=True)
@remote
def delete_payloads(options: Options, ids: tuple[str, ...]) -> None:
    """Delete payloads, or with PATH some of their files; prints what was deleted.

    ID is the id of a payload or of a job. The payload of a job can be deleted when the job has
    stopped and its results are delivered. PATH is as in `claraedge download`. All are checked
    first: if one is wrong, nothing is deleted.

    Example: claraedge delete payloads 3f2a '91bc:/operators/report/*'
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
@subject("references", _IMAGE, several=True)
@remote
def delete_images(options: Options, references: tuple[str, ...]) -> None:
    """Remove images from the device; prints what was removed.

    NAME is a name as `claraedge list images` shows it, or an id. If the image has several names,
    only this one is removed. An image that jobs use stays, unless it is damaged. An image whose
    archive is in images.d is loaded again: remove the archive first.

    Example: claraedge delete images localhost/claraedge/dcmtk:1
    """
    from claraedge.client import appliance

    with options.connect() as connection:
        _delete(options, connection, references, appliance.remove_image)


@delete.command("packages")
@subject("names", PACKAGE, several=True)
@remote
def delete_packages(options: Options, names: tuple[str, ...]) -> None:
    """Delete packages, with the records of their deployments that have stopped; prints the ids.

    PACKAGE is an id, a name (its newest version) or NAME:VERSION. All are checked first: if one is
    wrong, nothing is deleted. A package with a deployment that has not stopped is not deleted.

    Example: claraedge delete packages camera:v1
    """
    from claraedge.client.packages import catalogue

    with options.connect() as connection:
        found = dict.fromkeys(catalogue.get(connection, name).id for name in names)
        _delete(options, connection, found, catalogue.delete)


@delete.command("routes")
@subject("names", ROUTE, several=True)
@remote
def delete_routes(options: Options, names: tuple[str, ...]) -> None:
    """Delete static routes; prints the id of each.

    ROUTE is an id or a prefix. All are checked first: if one is wrong, nothing is deleted. A route
    that a deployment uses is not deleted.

    Example: claraedge delete routes viewer
    """
    from claraedge.client.packages import routes

    with options.connect() as connection:
        found = dict.fromkeys(routes.get(connection, name).id for name in names)
        _delete(options, connection, found, routes.delete)


@delete.command("networks")
@subject("names", NETWORK, several=True)
@remote
def delete_networks(options: Options, names: tuple[str, ...]) -> None:
    """Delete private networks with their ROS masters; prints the id of each.

    NETWORK is an id or a name. All are checked first: if one is wrong, nothing is deleted. A
    network with a deployment that has not stopped is not deleted.

    Example: claraedge delete networks robot
    """
    from claraedge.client.packages import networks

    with options.connect() as connection:
        found = dict.fromkeys(networks.get(connection, name).id for name in names)
        _delete(options, connection, found, networks.delete)


@delete.command("inbox")
@subject("items", ITEM, several=True)
@remote
def delete_inbox(options: Options, items: tuple[str, ...]) -> None:
    """Delete failed items with their originals, for good; prints the id of each.

    ITEM is an id or its beginning, a name that only one item has, or FOLDER/NAME. A file that waits
    lies in the inbox: delete it there.

    Example: claraedge delete inbox scan.dcm
    """
    from claraedge.client import appliance

    with options.connect() as connection:
        found = dict.fromkeys(appliance.resolve_item(connection, item) for item in items)
        _delete(options, connection, found, appliance.discard_item)


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
