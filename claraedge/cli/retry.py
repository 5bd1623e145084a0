"""`claraedge retry inbox`."""

from __future__ import annotations

import click

from claraedge.cli.options import Nouns, Options, remote


@click.group(cls=Nouns)
def retry() -> None:
    """Try something again that failed or waits."""


@retry.command("inbox")
@click.argument("items", nargs=-1, required=True, metavar="ITEM...")
@remote
def retry_inbox(options: Options, items: tuple[str, ...]) -> None:
    """Put failed items back into the drop folder, or look at waiting ones now.

    ITEM is an id, or a name that one item alone has.
    """
    from claraedge.client import appliance

    with options.connect() as connection:
        found = [
            appliance.retry_item(connection, appliance.resolve_item(connection, item))
            for item in items
        ]
    if options.json:
        options.print_json({"items": found})
    else:
        for item in found:
            click.echo(f"{item.id}  {item.state}  {item.name}")
