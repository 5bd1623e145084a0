"""`claraedge find`: searches jobs and the drop folder."""

from __future__ import annotations

import click

from claraedge.cli.options import Options, remote
from claraedge.cli.output import local, table


@click.command()
@click.argument("words", nargs=-1, metavar="TEXT...")
@click.option(
    "--kind",
    type=click.Choice(["job", "item"]),
    help="Only jobs, or only items.",
)
@click.option(
    "--state",
    "names",
    multiple=True,
    help="Only jobs or items in this state, for example running or parked. Can be repeated.",
)
@click.option("--pipeline", default="", help="Only those of this pipeline: an id or a name.")
@click.option("--retryable", is_flag=True, help="Only items that `claraedge retry inbox` accepts.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, help="The most results.  [50]")
@click.option("--page", default="", help="The token of another page, as this command prints it.")
@click.option("-q", "--quiet", is_flag=True, help="Print only ids.")
@remote
def find(
    options: Options,
    words: tuple[str, ...],
    kind: str | None,
    names: tuple[str, ...],
    pipeline: str,
    retryable: bool,
    limit: int,
    page: str,
    quiet: bool,
) -> None:
    """Find jobs and items of the drop folder, the newest first.

    Each word of TEXT has to occur in the name, in that of the pipeline or in the metadata (such as
    the UID of a study), or to begin the id. Without TEXT: all.

    Example: claraedge find liver --state failed
    """
    from claraedge.client import search

    wanted = [name.upper() for name in names]
    for name in wanted:
        if name not in (*search.STAGES, *search.STATES):
            known = ", ".join(sorted({one.lower() for one in (*search.STAGES, *search.STATES)}))
            raise click.BadParameter(
                f"{name.lower()!r} is no state; known: {known}", param_hint="--state"
            )
    with options.connect() as connection:
        found = search.find(
            connection,
            " ".join(words),
            kinds=[kind.upper()] if kind else [],
            stages=[name for name in wanted if name in search.STAGES],
            states=[name for name in wanted if name in search.STATES],
            pipeline=pipeline,
            retryable=retryable,
            limit=limit,
            page=page,
        )
    if options.json:
        options.print_json(found)
        return
    if quiet:
        for hit in found.hits:
            click.echo(hit.id)
        return
    rows = [
        (
            hit.name,
            hit.kind,
            hit.id,
            hit.pipeline_name,
            hit.stage if hit.kind == "JOB" else hit.state,
            local(hit.created),
            hit.reason or "-",
        )
        for hit in found.hits
    ]
    click.echo(table(("NAME", "KIND", "ID", "PIPELINE", "STATE", "CREATED", "REASON"), rows))
    if found.next_page:
        click.echo(f"More: --page {found.next_page}", err=True)
