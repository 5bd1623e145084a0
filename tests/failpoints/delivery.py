"""The moments of a delivery and of a removal at which a test ends the daemon, in order."""

from __future__ import annotations

_PUBLISH = (
    "publish: written",
    "publish: built",
    "publish: renamed",
    "publish: synced",
)
_MOVE_ACROSS = ("move: copying", "move: copied", "move: moved", "move: source removed")
_END = ("deliver: original moved", "deliver: before commit", "deliver: committed")

#: A folder of results, with an original. RESULT_ACROSS: the original goes to another file system.
RESULT = (
    "deliver: begun",
    "publish: building",
    "deliver: copied",
    *_PUBLISH,
    "deliver: before original",
    *_END,
)
RESULT_ACROSS = (*RESULT[: -len(_END)], *_MOVE_ACROSS, *_END)
#: The failure of a job.
FAILURE = tuple("deliver: logs" if name == "deliver: copied" else name for name in RESULT)
#: The failure of an item that never became a job.
ITEM_FAILURE = ("publish: building", *_PUBLISH)
#: The end of what was kept for long enough.
REMOVAL = ("expire: begun", "expire: hidden", "expire: removed", "expire: recorded")
#: The end of a failure that a person removes.
DISCARD = ("discard: recorded", *REMOVAL)
