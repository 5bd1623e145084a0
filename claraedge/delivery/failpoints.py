"""The moments of a delivery and of a removal at which a test ends the daemon, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Failpoint: TypeAlias = Callable[[str], None]

#: Both for results and for failures, from `publish` on; the original only where there is one.
DELIVERY = (
    "deliver: begun",
    "publish: building",
    "deliver: copied",
    "deliver: logs",
    "publish: written",
    "publish: shown",
    "publish: built",
    "publish: renamed",
    "publish: synced",
    "deliver: before original",
    "move: copying",
    "move: copied",
    "move: moved",
    "move: source removed",
    "deliver: original moved",
    "deliver: before commit",
    "deliver: committed",
    "deliver: spool removed",
)
#: Of what was kept for long enough.
REMOVAL = ("expire: begun", "expire: hidden", "expire: removed", "expire: recorded")

FAILPOINTS = (*DELIVERY, *REMOVAL)


def nothing(_: str) -> None:
    """The product's."""
