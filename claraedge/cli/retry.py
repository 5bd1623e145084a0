"""`claraedge retry`: retries items of the inbox, and things that the daemon set aside."""

from __future__ import annotations

import click

from claraedge.cli.options import Nouns, Options, remote
from claraedge.cli.subject import ITEM, Kind, subject


@click.group(cls=Nouns)
def retry() -> None:
    """Retry something that failed or waits."""


@retry.command("inbox")
@subject("items", ITEM, several=True)
@remote
def retry_inbox(options: Options, items: tuple[str, ...]) -> None:
    """Move failed items back to the drop folder, and check waiting items at once.

    This includes items that were set aside because the daemon ended twice while it processed them.
    ITEM is an id or its beginning, a name that only one item has, or FOLDER/NAME.

    Example: claraedge retry inbox scan.dcm
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


def _of(kind: str, metavar: str, text: str) -> None:
    """Adds a command that retries things of one kind that the daemon set aside."""

    @retry.command(kind, help=text)
    @subject("names", Kind(noun=kind, metavar=metavar), several=True)
    @remote
    def _(options: Options, names: tuple[str, ...]) -> None:
        from claraedge.client import appliance

        with options.connect() as connection:
            for name in names:
                appliance.try_again(connection, kind, name)
        if options.json:
            options.print_json({"retried": list(names)})
        else:
            click.echo("\n".join(names))


_ASIDE = "that was set aside because the daemon ended twice while it processed it."
_of("delivery", "JOB", f"Deliver the results of a job {_ASIDE}")
_of("image", "FILE", f"Load an archive of images.d {_ASIDE}")
_of("job", "JOB", f"Collect the output of an operator {_ASIDE}")
_of("model", "VERSION", f"Remove, at the next start, an old version of a model {_ASIDE}")
_of("pipeline", "FILE", f"Read a definition of pipelines.d {_ASIDE}")
_of("removal", "NAME", f"Remove the files of a job or payload {_ASIDE}")
