"""What is done for one thing fails alone: an item, a job, a delivery, an image, a look.

Whoever works on many things catches `Exception` around each, and asks here what that means. A bug,
a tree that is too deep for Python or a want of memory is then the reason of that one thing, with
its traceback in the journal, and all others go on.
"""

from __future__ import annotations

import logging
from typing import TypeAlias

from claraedge.blocking import CancelledWorkError
from claraedge.errors import ClaraedgeError

_log = logging.getLogger(__name__)

Known: TypeAlias = OSError | ClaraedgeError


def known(error: Exception, what: str, **about: str) -> Known:
    """An error that can be shown to people: one that was foreseen is returned as it is.

    Any other one is logged, with its traceback, as the failure of `what`; `about` says of which id.
    Raises CancelledWorkError again: nobody waits for an answer then.
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
    """It in words, without what it names."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
