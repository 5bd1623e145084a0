"""Clears the spool at start: compares what earlier runs left there with the database."""

from __future__ import annotations

import logging
import os

from claraedge.blocking import in_folder_thread, in_thread
from claraedge.fs.removal import remove
from claraedge.inbox import records
from claraedge.inbox.intake.failures import Failures
from claraedge.inbox.model import ItemState
from claraedge.spool.spool import Spool
from claraedge.store.database import Database

_log = logging.getLogger(__name__)


async def clear(database: Database, spool: Spool, failures: Failures) -> int:
    """Removes folders of items that are done, and moves unknown ones to the failures.

    Returns the number of unknown ones. A folder that cannot be moved or removed is logged.
    """
    unknown = 0
    for name in await in_thread(os.listdir, spool.root):
        state = await database.read(lambda tx, item=name: records.state(tx, item))  # type: ignore[misc]
        folder = spool.folder(name)
        try:
            if state in (ItemState.DELIVERED, ItemState.FAILED):
                await in_thread(remove, folder)
            elif state is None:
                unknown += await in_folder_thread(failures.put_unknown, folder)
        except OSError as error:
            _log.warning("%s in the spool cannot be moved or removed: %s", name, error)
    return unknown
