"""`claraedge retry`: retries items of the inbox, and things that the daemon set aside."""

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
    """Put failed items back into the drop folder, or check waiting ones now, also where they were
    set aside since the daemon ended twice while it worked on them.

    ITEM is an id, a name that one item alone has, or its path.
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


def _of(kind: str, noun: str, text: str) -> None:
    """Adds a command that retries things of one kind that the daemon set aside."""

    @retry.command(kind, help=text)
    @click.argument("names", nargs=-1, required=True, metavar=f"{noun}...")
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


_ASIDE = "that was set aside, since the daemon ended twice while it worked on it."
_of("delivery", "JOB", f"Deliver the results of a job {_ASIDE}")
_of("image", "FILE", f"Load an archive of images.d {_ASIDE}")
_of("job", "JOB", f"Process what an operator left {_ASIDE}")
_of("model", "VERSION", f"Remove, at the next start, an old version of a model {_ASIDE}")
_of("pipeline", "FILE", f"Read a definition of pipelines.d {_ASIDE}")
_of("removal", "NAME", f"Remove what a job or a payload left {_ASIDE}")
