"""`claraedge schema`: prints the JSON schema of the definition language, for editors."""

from __future__ import annotations

from importlib.resources import files

import click


@click.command()
def schema() -> None:
    """Print the JSON schema of pipeline definitions, for editors that complete and check them.

    Save it to a file, and name that file in the first line of a definition:
    # yaml-language-server: $schema=FILE
    """
    click.echo(
        files("claraedge.pipelines").joinpath("definition.schema.json").read_text("utf-8"), nl=False
    )
