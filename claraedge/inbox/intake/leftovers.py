"""Clears the spool at start: compares what earlier runs left there with the database."""

from __future__ import annotations

import logging

from claraedge.blocking import in_folder_thread, in_thread
from claraedge.inbox import records
from claraedge.inbox.intake.failures import Failures
from claraedge.inbox.model import ItemState
from claraedge.spool.spool import Spool
from claraedge.store.database import Database

_log = logging.getLogger(__name__)


async def clear(database: Database, spool: Spool, failures: Failures) -> int:
    """Removes what is left of items that are done, and moves unknown ones to the failures.

    Returns the number of unknown ones. What cannot be moved or removed is logged.
    """
    unknown = 0
    for item in await in_thread(spool.items):
        state = await database.read(lambda tx, item=item: records.state(tx, item))  # type: ignore[misc]
        try:
            if state in (ItemState.DELIVERED, ItemState.FAILED):
                await in_thread(spool.remove, item)
            elif state is None:
                unknown += await in_folder_thread(failures.put_unknown, spool, item)
        except OSError as error:
            _log.warning("%s in the spool cannot be moved or removed: %s", item, error)
    return unknown
