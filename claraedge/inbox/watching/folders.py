"""Finds the triggers, and lists the entries of their folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from claraedge.bugs import Known, known, words
from claraedge.config import Config
from claraedge.config.inbox import TriggerSettings
from claraedge.formats.filenames import Names, is_ignored
from claraedge.fs.mounts import mount_of
from claraedge.fs.trusted import opened
from claraedge.fs.walking import walk
from claraedge.inbox.intake.definitions import Definitions
from claraedge.inbox.model import name_of, shown
from claraedge.inbox.shares import Shares, StalledError, StillBusyError
from claraedge.inbox.triggers.selection import LeftOut, Selected, no_trigger, select
from claraedge.inbox.triggers.triggers import (
    NOT_IN_A_FOLDER,
    Trigger,
    Triggers,
    folder_of,
)
from claraedge.spool.spool import is_ours

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderListing:
    """The entries of a trigger's folder, as paths below it, and what is never taken."""

    entries: Sequence[bytes]
    left_out: Sequence[LeftOut]


class Folders:
    """Reads the inbox: which triggers there are, and what lies in their folders."""

    def __init__(
        self, config: Config, definitions: Definitions, shares: Shares, names: Names
    ) -> None:
        self.names = names
        self._shares = shares
        self.root = Path(os.path.normpath(config.inbox_dir.absolute()))
        self._settings = config.inbox
        self._definitions = definitions
        self._unreadable: dict[Path, str] = {}
        self._between: dict[Path, list[str]] = {}
        self._polls: set[Path] = set()

    def wanted(self) -> list[Path]:
        """Returns the folders that are created at start: the inbox, and its configured triggers."""
        relative = [t.folder for t in self._settings.trigger if not Path(t.folder).is_absolute()]
        return [self.root, *(folder_of(self.root, folder) for folder in relative)]

    def unreadable(self) -> list[str]:
        """Returns which folders cannot be read now, as texts for people."""
        return [
            f"the inbox folder {shown(os.fsencode(path))} cannot be read ({why})"
            for path, why in self._unreadable.items()
        ]

    def left_out(self) -> list[str]:
        """Returns which entries lie where no trigger accepts them, as texts for people."""
        return [
            f"{name}{f' and {len(more)} more' if more else ''} in the inbox folder"
            f" {shown(os.fsencode(path))} will not become a job, because the folder of another"
            f" trigger lies next to it; move it into that folder, or directly into"
            f" {shown(os.fsencode(path))}"
            for path, (name, *more) in self._between.items()
        ]

    # --- triggers -------------------------------------------------------------------------------

    async def layout(self) -> Triggers | None:
        """Reads all triggers. None where the inbox cannot be read and no trigger is configured."""
        try:
            names = await self._shares.ask(self.root, _folders, self.root, self.names)
            self._unreadable.pop(self.root, None)
        except OSError as error:
            self._report(self.root, error)
            names = []
            if not self._settings.trigger:
                return None
        root = await self._trigger(self.root, TriggerSettings(folder=str(self.root), pipeline=""))
        triggers = {self.root: replace(root, problem=NOT_IN_A_FOLDER)}
        by_name: Mapping[Path, str] = {self.root / name_of(name): name_of(name) for name in names}
        registered = await self._definitions.registered(
            [name for name in by_name.values() if name.isprintable()]
        )
        for folder, name in by_name.items():
            if registered.get(name) is None:
                missing = await self._definitions.missing(name)
                trigger = await self._trigger(folder, TriggerSettings(folder=name, pipeline=""))
                triggers[folder] = replace(trigger, problem=missing.problem, remedy=missing.remedy)
            else:
                triggers[folder] = await self._checked(
                    folder, TriggerSettings(folder=name, pipeline=name)
                )
        for rule in self._settings.trigger:
            folder = folder_of(self.root, rule.folder)
            triggers[folder] = await self._checked(folder, rule)
        return Triggers(self.root, triggers.values())

    async def _checked(self, folder: Path, rule: TriggerSettings) -> Trigger:
        definition = await self._definitions.of_rule(rule)
        trigger = await self._trigger(folder, rule)
        return replace(trigger, problem=definition.problem, remedy=definition.remedy)

    async def _trigger(self, folder: Path, rule: TriggerSettings) -> Trigger:
        settle = rule.settle_seconds or self._settings.settle_seconds
        return Trigger(folder=folder, rule=rule, settle=settle, polled=await self._polled(folder))

    async def _polled(self, folder: Path) -> bool:
        """Whether a folder has to be polled, since the kernel does not see all changes in it.

        Logged once for each folder.
        """
        try:
            mount = await self._shares.ask(folder, mount_of, folder)
        except StalledError:
            return True
        except OSError:
            return False  # the folder is missing now: the listing reports that
        polled = mount is not None and not mount.sends_events
        if polled and mount is not None and folder not in self._polls:
            _log.info(
                "%s lies on %s (%s), which does not report changes: it is listed every %g s",
                folder,
                mount.source,
                mount.fstype,
                self._settings.poll_seconds,
            )
        (self._polls.add if polled else self._polls.discard)(folder)
        return polled

    # --- listings -------------------------------------------------------------------------------

    async def entries(self, trigger: Trigger, layout: Triggers) -> FolderListing | None:
        """Lists a trigger's folder; None where it cannot be read, or is still being read."""
        top = os.fsencode(trigger.folder)

        def leads_to_trigger(path: bytes) -> bool:
            return layout.leads_to_trigger(top + b"/" + path)

        def is_trigger(path: bytes) -> bool:
            return layout.is_trigger(top + b"/" + path)

        lists: Callable[[Path, Callable[[bytes], bool]], list[bytes]] = (
            partial(_files_below, is_trigger=is_trigger)
            if trigger.deep
            else partial(_names_in_root, names=self.names)
            if trigger.folder == self.root
            else _names
        )

        def listed(folder: Path) -> FolderListing:
            return _sorted(
                lists(folder, leads_to_trigger), trigger.rule, self.names, root=folder == self.root
            )

        try:
            found = await self._shares.ask(trigger.folder, listed, trigger.folder)
        except StillBusyError:
            return None
        except Exception as error:  # noqa: BLE001 - it fails alone
            self._report(trigger.folder, known(error, f"the listing of {trigger.folder}"))
            return None
        self._unreadable.pop(trigger.folder, None)
        await self._find_between(trigger, layout)
        return found

    async def _find_between(self, trigger: Trigger, layout: Triggers) -> None:
        self._between.pop(trigger.folder, None)
        if layout.has_between(trigger):
            listed = partial(
                _paths_between,
                is_trigger=layout.is_trigger,
                is_between=layout.is_between,
                names=self.names,
            )
            with suppress(StillBusyError, OSError):
                if found := await self._shares.ask(trigger.folder, listed, trigger.folder):
                    self._between[trigger.folder] = [shown(name) for name in sorted(found)]

    def _report(self, folder: Path, error: Known) -> None:
        text = words(error)
        if self._unreadable.get(folder) != text:
            self._unreadable[folder] = text
            name = shown(os.fsencode(folder))
            _log.warning(
                "the inbox folder %s cannot be read (%s); it is tried again by itself", name, text
            )


def _sorted(
    paths: Iterable[bytes], rule: TriggerSettings, names: Names, *, root: bool
) -> FolderListing:
    """Sorts paths below a trigger's folder into entries and those that are left out."""
    entries, left_out = [], []
    for path in paths:
        selected = select(rule, path, names)
        if root and isinstance(selected, Selected) and selected.unfinished:
            selected = no_trigger(path)
        if isinstance(selected, LeftOut):
            left_out.append(selected)
        else:
            entries.append(path)
    return FolderListing(entries=entries, left_out=left_out)


def _folders(root: Path, names: Names) -> list[bytes]:
    with opened(root) as path, os.scandir(os.fsencode(path)) as entries:
        return [
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not is_ignored(entry.name, names)
        ]


def _names(folder: Path, leads_to_trigger: Callable[[bytes], bool]) -> list[bytes]:
    with opened(folder) as path, os.scandir(os.fsencode(path)) as entries:
        found = [entry.name for entry in entries]
    return [name for name in found if not is_ours(name) and not leads_to_trigger(name)]


def _names_in_root(
    folder: Path, leads_to_trigger: Callable[[bytes], bool], names: Names
) -> list[bytes]:
    """Lists the inbox itself, without the folders that are triggers.

    Any folder whose name is not ignored counts as one: it becomes a trigger as soon as a pipeline
    of that name exists.
    """
    with opened(folder) as path, os.scandir(os.fsencode(path)) as entries:
        return [
            entry.name
            for entry in entries
            if (is_ignored(entry.name, names) or not entry.is_dir(follow_symlinks=False))
            and not is_ours(entry.name)
            and not leads_to_trigger(entry.name)
        ]


def _paths_between(
    folder: Path,
    *,
    is_trigger: Callable[[bytes], bool],
    is_between: Callable[[bytes], bool],
    names: Names,
) -> list[bytes]:
    """Returns paths below a trigger's folder that lie next to the folder of another trigger.

    At most about a hundred. What lies directly in the trigger's folder is an entry instead.
    """
    found: list[bytes] = []
    top = os.fsencode(folder)
    left = [b""]
    with opened(folder) as root:
        while left and len(found) < 100:
            below = left.pop()
            with opened(root, below) as here, os.scandir(os.fsencode(here)) as entries:
                for entry in entries:
                    inner = below + b"/" + entry.name if below else entry.name
                    path = top + b"/" + inner
                    if is_between(path):
                        left.append(inner)
                    elif below and not (is_trigger(path) or names.leftover(entry.name)):
                        found.append(inner)
    return found


def _files_below(
    folder: Path, leads_to_trigger: Callable[[bytes], bool], *, is_trigger: Callable[[bytes], bool]
) -> list[bytes]:
    """Lists all files of a folder's whole tree, and those folders in it that cannot be read."""
    found = []
    with opened(folder) as top:  # raises OSError where the folder cannot be read
        for entry in walk(top):
            if entry.is_folder and not (entry.unreadable or entry.too_deep):
                continue
            if not entry.path or is_ours(entry.path) or _in_other_trigger(entry.path, is_trigger):
                continue
            if entry.is_folder and leads_to_trigger(entry.path):
                continue
            found.append(entry.path)
    return found


def _in_other_trigger(path: bytes, is_trigger: Callable[[bytes], bool]) -> bool:
    parts = path.split(b"/")
    return any(is_trigger(b"/".join(parts[:depth])) for depth in range(1, len(parts)))
