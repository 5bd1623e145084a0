"""The results of an attempt to make a job of a claimed item: one union for all steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from claraedge.errors import ClaraedgeError
from claraedge.inbox.inspection.permissions import Blocked


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The entry changed or disappeared before it was moved: the claim has to be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """The entry was written to during its claim: it lies in the spool and has to settle there."""

    content: str
    """The fingerprint of its content now (`Survey.content`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulty:
    """The entry can never become a job."""

    reason: str
    path: Path
    """Where it lies now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """The job of an earlier item with the same content is not done yet: wait for it."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The pipeline was changed meanwhile: try the item again at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicated:
    """The job of an earlier item stands for this one, which has to be finished as a duplicate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The item has a job, which is queued."""

    job: str


#: How an attempt ended. An error: the attempt failed and is repeated, as with `Blocked`.
ItemResult: TypeAlias = (
    Blocked
    | Gone
    | Unsettled
    | Faulty
    | Later
    | Changed
    | Duplicated
    | Submitted
    | OSError
    | ClaraedgeError
)
