"""Which folder makes which jobs. Pure: folders and paths in, triggers out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from claraedge.config.inbox import DEEP
from claraedge.config.inbox import Trigger as Rule

#: What corrects a missing pipeline.
CREATE = "claraedge create pipeline -p FILE"
NOT_IN_A_FOLDER = (
    "it lies in the inbox itself: move it into a folder there that is named like a pipeline"
    " (`claraedge list pipelines`)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A folder whose entries become jobs of one pipeline."""

    folder: Path
    """Absolute."""
    rule: Rule
    """As configured, or that of a folder which is named like a pipeline."""
    settle: float
    """Seconds."""
    problem: str = ""
    """Why its entries stay where they are, for now."""
    remedy: str = ""
    polled: bool = False
    """Its file system sends no events for what others change."""

    @property
    def deep(self) -> bool:
        """Its entries are the files of its tree; else what lies at its top."""
        return self.rule.grouping in DEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path lies."""

    trigger: Trigger
    name: bytes
    """Of the entry of the trigger's folder."""
    inside: bytes
    """The path below that entry; b'' is the entry."""


class Layout:
    """All triggers of an inbox."""

    def __init__(self, root: Path, triggers: Iterable[Trigger]) -> None:
        self.root = root
        self.triggers: Mapping[bytes, Trigger] = {os.fsencode(t.folder): t for t in triggers}
        self._above = {
            os.fsencode(parent) for t in self.triggers.values() for parent in t.folder.parents
        }

    def place(self, path: bytes) -> Place | None:
        """The entry that a path is, or lies in; None for triggers' folders and what is outside."""
        inside: list[bytes] = []
        folder = path
        while True:
            if folder in self.triggers:
                break
            folder, name = os.path.split(folder)
            if not name:
                return None
            inside.insert(0, name)
        if not inside or self.leads_to_trigger(path):
            return None
        trigger = self.triggers[folder]
        if not trigger.deep and self.leads_to_trigger(folder + b"/" + inside[0]):
            return None
        if trigger.deep:
            return Place(trigger=trigger, name=b"/".join(inside), inside=b"")
        return Place(trigger=trigger, name=inside[0], inside=b"/".join(inside[1:]))

    def is_trigger(self, path: bytes) -> bool:
        """The path is a trigger's folder: what lies below is its own."""
        return path in self.triggers

    def is_between(self, path: bytes) -> bool:
        """The path leads from a trigger's folder to another one: nothing there is an entry."""
        return path in self._above and path not in self.triggers

    def has_between(self, trigger: Trigger) -> bool:
        """Whether there are such folders below the trigger's. Files of deep ones are entries."""
        top = os.fsencode(trigger.folder) + b"/"
        return not trigger.deep and any(
            self.is_between(path) for path in self._above if path.startswith(top)
        )

    def leads_to_trigger(self, path: bytes) -> bool:
        """The path is a trigger's folder, or one above it: no entry."""
        return path in self.triggers or path in self._above


def folder_of(root: Path, written: str) -> Path:
    """The absolute folder of a configured trigger."""
    return Path(os.path.normpath(root / written))


def no_pipeline(pipeline: str) -> str:
    """Why entries of a trigger stay that names what is not registered."""
    # A blank at an end would not be seen.
    return f"no such pipeline: {pipeline if pipeline == pipeline.strip() else repr(pipeline)}"
