"""The containers that record, for the room of containers that are kept running."""

from __future__ import annotations

from claraedge.errors import BagJobFailedError
from claraedge.runner.protocol import LABEL_BAG_JOB, LABEL_BAG_JOB_NAME, LABEL_BAGS
from claraedge.supervised.workshop import ContainerKind

#: Seconds that `record` has to write its buffers and the index of its bag, once it was asked to
#: end.
GRACE = 60.0

BAGS = ContainerKind(
    noun="recording",
    mark=LABEL_BAGS,
    key=LABEL_BAG_JOB,
    title=LABEL_BAG_JOB_NAME,
    error=BagJobFailedError,
)
