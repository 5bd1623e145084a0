"""`claraedge openapi`: prints the description of the HTTP front, for generators of clients."""

from __future__ import annotations

import click


@click.command()
def openapi() -> None:
    """Print the description of the HTTP front (OpenAPI 3.1), for generators of clients.

    It needs no daemon; a daemon of the same version serves the same at /openapi.json.
    """
    from claraedge.web.openapi.document import all_methods, document
    from claraedge.web.openapi.routes import text_of

    click.echo(text_of(document(all_methods())), nl=False)
