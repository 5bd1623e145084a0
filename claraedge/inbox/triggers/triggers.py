"""Maps folders and paths to triggers: which folder makes jobs of which pipeline. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from claraedge.config.inbox import DEEP, TriggerSettings

#: The remedy for a missing pipeline.
CREATE = "claraedge create pipeline -p FILE"
NOT_IN_A_FOLDER = (
    "it lies in the inbox itself: move it into a folder there that is named like a pipeline"
    " (`claraedge list pipelines`)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A folder whose entries become jobs of one pipeline."""

    folder: Path
    """An absolute path."""
    rule: TriggerSettings
    """The configured rule, or that of a folder which is named like a pipeline."""
    settle: float
    """Seconds without a change after which an entry is settled."""
    problem: str = ""
    """Why none of its entries is taken for now; empty: they are."""
    remedy: str = ""
    polled: bool = False
    """Its file system sends no events for changes by other machines, so that it is polled."""

    @property
    def deep(self) -> bool:
        """Whether its entries are all files of its tree, and not only what lies at its top."""
        return self.rule.grouping in DEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerPath:
    """The trigger and the entry that a path belongs to."""

    trigger: Trigger
    name: bytes
    """The entry, as a path below the trigger's folder."""
    inside: bytes
    """The path below that entry; b'' is the entry itself."""


class Triggers:
    """All triggers of an inbox, by folder."""

    def __init__(self, root: Path, triggers: Iterable[Trigger]) -> None:
        self.root = root
        self.triggers: Mapping[bytes, Trigger] = {os.fsencode(t.folder): t for t in triggers}
        self._above = {
            os.fsencode(parent) for t in self.triggers.values() for parent in t.folder.parents
        }

    def place(self, path: bytes) -> TriggerPath | None:
        """Returns the entry that a path is, or lies in.

        None for triggers' folders, for folders above them, and for paths outside of all of them.
        """
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
            return TriggerPath(trigger=trigger, name=b"/".join(inside), inside=b"")
        return TriggerPath(trigger=trigger, name=inside[0], inside=b"/".join(inside[1:]))

    def is_trigger(self, path: bytes) -> bool:
        """Whether a path is a trigger's folder, so that what lies below belongs to that trigger."""
        return path in self.triggers

    def is_between(self, path: bytes) -> bool:
        """Whether a path lies above a trigger's folder and is none, so that it has no entries."""
        return path in self._above and path not in self.triggers

    def has_between(self, trigger: Trigger) -> bool:
        """Whether folders that are `is_between` lie below a trigger's folder.

        False for deep triggers, for which files in such folders are entries.
        """
        top = os.fsencode(trigger.folder) + b"/"
        return not trigger.deep and any(
            self.is_between(path) for path in self._above if path.startswith(top)
        )

    def leads_to_trigger(self, path: bytes) -> bool:
        """Whether a path is a trigger's folder, or lies above one, and so is no entry."""
        return path in self.triggers or path in self._above


def folder_of(root: Path, written: str) -> Path:
    """Returns the absolute folder of a configured trigger; `written` is relative or absolute."""
    return Path(os.path.normpath(root / written))


def no_pipeline(pipeline: str) -> str:
    """Returns the text that a trigger's pipeline is not registered."""
    # A blank at either end would be invisible without quotes.
    return f"no such pipeline: {pipeline if pipeline == pipeline.strip() else repr(pipeline)}"
