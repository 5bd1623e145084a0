"""`claraedge list inbox --watch`: prints a line for each item and for each change of an item."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

import click

from claraedge.cli.options import Options
from claraedge.cli.output import clean
from claraedge.errors import UnavailableError

if TYPE_CHECKING:
    from claraedge.client import Connection
    from claraedge.client.values import ItemInfo

#: Seconds between lists: items that settle or wait change without an event.
_TICK = 1.0
#: A list of very many items costs the daemon time: the pause is this multiple of that time.
_REST = 5.0
#: Seconds between attempts to connect.
_RETRY = 0.5
#: Seconds to wait for a daemon that does not answer.
_PATIENCE = 60.0


def watch_inbox(options: Options, connection: Connection, state: str | None) -> NoReturn:
    """Prints changes until the caller is interrupted.

    Raises UnavailableError if the daemon is gone for longer than `_PATIENCE`.
    """
    from claraedge.client import appliance, events

    known: dict[str, ItemInfo] = {}
    seen = rest_until = time.monotonic()
    while True:
        try:
            for _ in events.inbox_changes(connection, tick=_TICK):
                if (began := time.monotonic()) < rest_until:
                    continue  # the next tick lists again
                found = appliance.list_items(connection, state.upper() if state else None)
                for item in found:
                    if known.get(item.id) != item:
                        _show(options, item)
                known = {item.id: item for item in found}
                seen = time.monotonic()
                rest_until = seen + _REST * (seen - began) - _TICK
        except UnavailableError:
            if time.monotonic() - seen > _PATIENCE:
                raise
        time.sleep(_RETRY)


def _show(options: Options, item: ItemInfo) -> None:
    if options.json:
        options.print_json(item)
        return
    job = f"  job {item.job_id[:12]}" if item.job_id else ""
    why = f"  {clean(item.reason)}" if item.reason else ""
    stamp = time.strftime("%H:%M:%S")
    click.echo(f"{stamp}  {item.state:<10} {clean(item.pipeline)}  {clean(item.name)}{job}{why}")
