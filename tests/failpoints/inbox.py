"""The moments of an item's way into the state at which a test ends the daemon, in order."""

from __future__ import annotations

from tests.failpoints.delivery import ITEM_FAILURE

_CLAIM = ("claim: before row", "claim: row")
_RENAME = ("claim: before rename", "claim: renamed")
#: The second one again for each entry.
_GATHER = ("claim: before gathering", "claim: gathered one")
_COPY = ("claim: before copy", "claim: copied", "claim: own", "claim: raw removed")
_SUBMIT = ("submit: payload", "submit: durable", "submit: before commit", "submit: committed")
_FAIL = ("fail: moved", "fail: before commit", "fail: committed")

#: A file or folder of ours; and one that others could write, or from another file system.
TAKEN = (*_CLAIM, *_RENAME, "claim: taken", "claim: checked", *_SUBMIT)
COPIED = (*_CLAIM, *_RENAME, "claim: taken", *_COPY, *_SUBMIT)
#: The same of a group.
GATHERED = (*_CLAIM, *_GATHER, "claim: taken", "claim: checked", *_SUBMIT)
GATHERED_COPIED = (*_CLAIM, *_GATHER, "claim: taken", *_COPY, *_SUBMIT)
#: What can never become a job.
FAULTY = (*_CLAIM, *_RENAME, "claim: taken", *ITEM_FAILURE, *_FAIL)
#: What changed, or went, after it was settled.
RELEASED = (*_CLAIM, "release: before commit", "release: committed")
#: The end of one whose content came before; the first where it is linked.
_DUPLICATE = (
    "duplicate: linked",
    "duplicate: original moved",
    "duplicate: before commit",
    "duplicate: committed",
)
LINKED = (*TAKEN, *_DUPLICATE)
SKIPPED = tuple(name for name in LINKED if name != "duplicate: linked")
#: A failure that comes back into the inbox; of a job's, whose payload has the same file, a copy.
RETRIED = ("retry: moved one", "retry: before commit", "retry: committed")
RETRIED_COPY = (
    "retry: copying",
    "retry: copied",
    "retry: set aside",
    "retry: shown",
    *RETRIED,
)
#: What a client dropped; and what else is reached where the inbox is on another file system.
DROPS = ("drop: staged", "drop: one appeared")
DROPS_COPIED = ("drop: copying", "drop: copied")
