"""Inspects entries of triggers' folders. Blocking; changes nothing."""

from __future__ import annotations

import os
import re
import shlex
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from claraedge.appliance.state import user_name
from claraedge.formats.filenames import Names
from claraedge.fs.mounts import mount_of
from claraedge.fs.walking import MAX_DEPTH, placed
from claraedge.inbox.inspection.dicom import NO_SERIES, Unidentified, identify, name_of
from claraedge.inbox.inspection.permissions import Blocked, Free, folder_is_open, judge, located
from claraedge.inbox.inspection.survey import (
    Survey,
    Surveyor,
    name_fault,
    superseded,
    too_deep_fault,
)
from claraedge.inbox.inspection.writers import Devices
from claraedge.inbox.triggers.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """The DICOM UIDs of a file, read when it had this fingerprint."""

    fingerprint: str
    uids: Mapping[str, str] = field(default_factory=dict)
    """The UIDs named `study` and `series`, as texts that are safe in names."""
    key: str = ""
    """The UID that the trigger groups by; empty where the file has none."""
    fault: str = ""
    """Why the file can never be an input of a study; empty: it can."""
    unrelated: bool = False
    """It certainly belongs to no study."""


#: Names of DICOM images, also of packed ones. Whatever such a file contains, a study may need it.
_IMAGE = re.compile(r"\.(dcm|dicom|dic|ima)(\.|$)", re.IGNORECASE)
#: Grouping by content -> which UID of a file it groups by.
UIDS = {"dicom-study": "study", "dicom-series": "series"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The result of one inspection of an entry."""

    survey: Survey | None
    """None: the entry does not exist any more."""
    verdict: Free | Blocked = field(default_factory=Free)
    cost: float = 0.0
    """Processor seconds that the inspection took; the time that a slow disk added does not count.
    """
    identified: Identified | None = None
    whole: bytes | None = None
    """The name of a file that arrived whole after the broken transfer of which this is a part."""
    is_folder_of_more: bool = False
    """It is a folder whose files are entries of their own."""


class EntryInspector:
    """Inspects entries with the permissions of the user that the daemon runs as."""

    def __init__(self, names: Names) -> None:
        self.uid = os.geteuid()
        self._surveyor = Surveyor(uid=self.uid, names=names)
        self.user = user_name(self.uid)

    def inspect(
        self,
        trigger: Trigger,
        name: bytes,
        identified: Identified | None,
        devices: Devices | None = None,
    ) -> Inspection | OSError:
        """Inspects an entry; returns what was found, or the error of the file system.

        `identified`: the result of the last inspection, reused while the file is unchanged.
        `devices`: the entry may be settled by this inspection, so that writers are checked too;
        the cache may serve several inspections in succession.
        """
        began = time.thread_time()
        try:
            if name.count(b"/") > MAX_DEPTH:
                return Inspection(survey=None)  # too deep: a folder above it is the entry instead
            with placed(trigger.folder, name) as path:
                if trigger.deep and name.count(b"/") < MAX_DEPTH and _may_list(path):
                    return Inspection(survey=self._surveyor.tree(path), is_folder_of_more=True)
                seen = self._surveyor.tree(path, devices)
                return self._inspect(trigger, name, path, identified, began, seen)
        except (FileNotFoundError, NotADirectoryError):
            return Inspection(survey=None)
        except OSError as error:
            return error

    def _inspect(
        self,
        trigger: Trigger,
        name: bytes,
        path: Path,
        identified: Identified | None,
        began: float,
        seen: Survey,
    ) -> Inspection:
        too_deep = trigger.deep and name.count(b"/") >= MAX_DEPTH
        is_open = folder_is_open(path.parent, seen.top_foreign, self.uid)
        verdict = judge(seen, self.user, folder_open=is_open)
        if not is_open and (point := _read_only(path.parent)) is not None:
            verdict = Blocked(
                reason="its file system is mounted read-only: nothing can be moved out of it",
                remedy=f"sudo mount -o remount,rw {shlex.quote(point)}",
            )
        if isinstance(verdict, Blocked):
            verdict = located(verdict, path)
        fault = seen.reading.fault
        if fault is None and too_deep:
            fault = too_deep_fault(name)
        if fault is None and b"/" in name:
            fault = name_fault(name, folder=seen.is_folder)
        if fault is None and not seen.is_folder and trigger.rule.grouping in UIDS:
            if identified is None or identified.fingerprint != seen.reading.fingerprint:
                identified = _identified(path, trigger.rule.grouping, seen)
            if identified is not None and isinstance(verdict, Free):
                fault = identified.fault or None
        seen = replace(seen, reading=replace(seen.reading, fault=fault))
        whole = superseded(
            os.fsencode(path.name),
            path.lstat(),
            self._surveyor.names,
            lambda sibling: path.with_name(os.fsdecode(sibling)).lstat(),
        )
        return Inspection(
            survey=seen,
            verdict=verdict,
            cost=time.thread_time() - began,
            identified=identified,
            whole=whole,
        )


def _read_only(folder: Path) -> str | None:
    """Returns the mount point of a folder whose file system is mounted read-only, else None."""
    if not os.statvfs(folder).f_flag & os.ST_RDONLY:
        return None
    mount = mount_of(folder)
    return None if mount is None else os.fsdecode(mount.point)


def _may_list(path: Path) -> bool:
    """Whether it is a folder, and no link to one, that we may list."""
    is_folder = stat.S_ISDIR(path.lstat().st_mode)
    return is_folder and os.access(path, os.R_OK | os.X_OK, effective_ids=True)


def _identified(path: Path, grouping: str, seen: Survey) -> Identified | None:
    """Reads the DICOM UIDs of a file; None where it may not be read."""
    fingerprint = seen.reading.fingerprint
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return None
    try:
        found = identify(descriptor)
    finally:
        os.close(descriptor)
    if isinstance(found, Unidentified):
        unrelated = found.other and _IMAGE.search(path.name) is None
        return Identified(fingerprint=fingerprint, fault=f"it {found.reason}", unrelated=unrelated)
    uids = {
        "study": name_of(found.study),
        "series": name_of(found.series) if found.series else "",
    }
    key = uids[UIDS[grouping]]
    fault = f"it {found.cut}" if found.cut else "" if key else f"it {NO_SERIES}"
    return Identified(fingerprint=fingerprint, uids=uids, key=key, fault=fault)
