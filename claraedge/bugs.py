"""Isolates failures: work on one item, job, delivery, image or inspection fails on its own.

A loop over many things catches `Exception` around each one and passes it to `known`. A bug, a tree
that is too deep for Python or a lack of memory then becomes the failure reason of that one thing,
with its traceback in the journal, and work on all others continues.
"""

from __future__ import annotations

import logging
from typing import TypeAlias

from claraedge.blocking import CancelledWorkError
from claraedge.errors import ClaraedgeError

_log = logging.getLogger(__name__)

Known: TypeAlias = OSError | ClaraedgeError


def known(error: Exception, what: str, **about: str) -> Known:
    """Returns an error that can be shown to users; an expected error is returned unchanged.

    Any other error is logged with its traceback as the failure of `what`; `about` carries the ids
    for the log. Raises CancelledWorkError again, because nobody waits for an answer then.
    """
    if isinstance(error, OSError | ClaraedgeError):
        return error
    if isinstance(error, CancelledWorkError):
        raise error
    _log.error("%s met a bug; please report it", what, exc_info=error, extra=about)
    return ClaraedgeError(
        f"internal error: {error!r}; this is a bug: please report it, with the lines of"
        " `journalctl -u claraedge` that name it"
    )


def words(error: Known) -> str:
    """Returns the message of an error, without the file names that an OSError adds."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
