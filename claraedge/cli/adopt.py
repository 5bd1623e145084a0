"""`claraedge adopt`: gives files that others dropped to the daemon's user. For root."""

from __future__ import annotations

import contextlib
import os

import click

from claraedge.cli.options import Options, remote
from claraedge.cli.output import clean
from claraedge.cli.subject import ITEM, subject
from claraedge.errors import InvalidRequestError, ItemNotFoundError, ItemRetryError
from claraedge.texts import size


@click.command()
@subject("items", ITEM, several=True)
@remote
def adopt(options: Options, items: tuple[str, ...]) -> None:
    """Make the daemon's user the owner of items in the drop folder that claraedge cannot read.

    Run it with sudo. ITEM is an id or its beginning, a name that only one item has, or FOLDER/NAME.
    The owner changes only of files that `claraedge list inbox` shows, and only below folders that
    belong to claraedge. Links are not followed, even if another user replaces a file during the
    command.

    Example: sudo claraedge adopt scan.dcm
    """
    from claraedge.client import appliance
    from claraedge.client.target import user_of
    from claraedge.fs import adopting

    given: list[tuple[str, adopting.Adopted]] = []
    with Options(host=_target(options.host), json=options.json).connect() as connection:
        user = user_of(connection.target)
        for text in items:
            item = appliance.resolve_item(connection, text)
            thing = appliance.thing_of(connection, item)
            if thing is None:
                raise InvalidRequestError(
                    f"{text} ({item}) belongs to claraedge, or waits for something else: see"
                    f" `claraedge describe inbox {item}`"
                )
            try:
                given.append((item, adopting.adopt(thing, user)))
            except PermissionError as error:
                raise InvalidRequestError(
                    f"{text} ({item}): this user cannot change its owner"
                    f" ({error.strerror or error}): run `sudo claraedge adopt {item}`; on a share,"
                    " its server has to do it"
                ) from error
            with contextlib.suppress(ItemNotFoundError, ItemRetryError):
                appliance.retry_item(connection, item)  # so that it is inspected now
    if options.json:
        options.print_json({"adopted": dict(given)})
        return
    for (item, one), text in zip(given, items, strict=True):
        click.echo(
            f"{item}  {one.files} files ({size(one.size)}), {one.folders} folders  {clean(text)}"
        )


def _target(host: str | None) -> str:
    """Returns the target of the daemon that the user who called sudo would use without sudo."""
    from claraedge.client.target import find_target

    user = os.geteuid()
    asked = os.environ.get("SUDO_UID", "")
    return find_target(host, os.environ, int(asked) if user == 0 and asked.isdecimal() else user)
