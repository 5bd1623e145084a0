"""`claraedge delete models`."""

from __future__ import annotations

import click

from claraedge.cli.options import Nouns, Options, remote


@click.group(cls=Nouns)
def delete() -> None:
    """Delete models, for good."""


@delete.command("models")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@remote
def delete_models(options: Options, ids: tuple[str, ...]) -> None:
    """Delete models, also from every catalog and instance; prints the id of each.

    All IDs are looked up first: a mistake in one of them deletes nothing.
    """
    from claraedge.client import models

    deleted = []
    with options.connect() as connection:
        for model_id in models.resolve_all(connection, ids):
            models.delete(connection, model_id)
            deleted.append(model_id)
            if not options.json:
                click.echo(model_id)
    if options.json:
        options.print_json({"deleted": deleted})
