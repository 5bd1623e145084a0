"""What a look at an entry of a trigger's folder finds. Blocking; changes nothing."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from claraedge.appliance.state import user_name
from claraedge.formats.filenames import Names
from claraedge.fs.mounts import mount_of
from claraedge.fs.walking import MAX_DEPTH, placed
from claraedge.inbox.inspection.dicom import NO_SERIES, Unidentified, identify, name_of
from claraedge.inbox.inspection.permissions import Free, Held, folder_is_open, judge, located
from claraedge.inbox.inspection.survey import (
    Survey,
    Surveyor,
    name_fault,
    superseded,
    too_deep_fault,
)
from claraedge.inbox.inspection.writers import Devices, first_writer
from claraedge.inbox.triggers.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What the files of a study say of themselves, for the bytes of one fingerprint."""

    fingerprint: str
    uids: Mapping[str, str] = field(default_factory=dict)
    """`study` and `series`."""
    key: str = ""
    """The one of them that the trigger groups by."""
    fault: str = ""
    stray: bool = False
    """It is certainly a part of no study."""


#: Of names that call a file an image, packed ones too: whatever is in it, a study may lack it.
_IMAGE = re.compile(r"\.(dcm|dicom|dic|ima)(\.|$)", re.IGNORECASE)
#: Groupings by what a file says of itself, and by which of it.
UIDS = {"dicom-study": "study", "dicom-series": "series"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is there."""

    survey: Survey | None
    """None: nothing is."""
    verdict: Free | Held = field(default_factory=Free)
    cost: float = 0.0
    """Seconds of the processor that the look took: not those that a hung disk made it wait."""
    identified: Identified | None = None
    whole: bytes | None = None
    """It is a part of a broken transfer of this file, which came later."""
    is_folder_of_more: bool = False
    """A folder whose files are entries of their own."""


class EntryInspector:
    """Looks at entries as the user that the daemon runs as."""

    def __init__(self, names: Names) -> None:
        self.uid = os.geteuid()
        self._surveyor = Surveyor(uid=self.uid, names=names)
        self.user = user_name(self.uid)

    def look(
        self,
        trigger: Trigger,
        name: bytes,
        identified: Identified | None,
        *,
        nearly: bool,
        devices: Devices | None = None,
    ) -> Found | OSError:
        """`identified`: as of the last look. `nearly`: it may be settled by this look.

        `devices`: for several looks one after the other.
        """
        began = time.thread_time()
        try:
            if name.count(b"/") > MAX_DEPTH:
                return Found(survey=None)  # the folder that it lies in is an entry
            with placed(trigger.folder, name) as path:
                return self._look(trigger, name, path, identified, began, nearly, devices)
        except (FileNotFoundError, NotADirectoryError):
            return Found(survey=None)
        except OSError as error:
            return error

    def _look(
        self,
        trigger: Trigger,
        name: bytes,
        path: Path,
        identified: Identified | None,
        began: float,
        nearly: bool,
        devices: Devices | None,
    ) -> Found:
        seen = self._surveyor.tree(path)
        too_deep = trigger.deep and name.count(b"/") >= MAX_DEPTH
        if trigger.deep and seen.is_folder and not too_deep and _may_look_into(path):
            return Found(survey=seen, is_folder_of_more=True)
        is_open = folder_is_open(path.parent, seen.top_foreign, self.uid)
        verdict = judge(seen, self.user, folder_open=is_open)
        if not is_open and (point := _read_only(path.parent)) is not None:
            verdict = Held(
                reason="its file system is mounted read-only: nothing can be moved out of it",
                remedy=f"sudo mount -o remount,rw {shlex.quote(point)}",
            )
        if isinstance(verdict, Held):
            verdict = located(verdict, path)
        fault = seen.look.fault
        if fault is None and too_deep:
            fault = too_deep_fault(name)
        if fault is None and b"/" in name:
            fault = name_fault(name, folder=seen.is_folder)
        if fault is None and not seen.is_folder and trigger.rule.grouping in UIDS:
            if identified is None or identified.fingerprint != seen.look.fingerprint:
                identified = _identified(path, trigger.rule.grouping, seen)
            if identified is not None and isinstance(verdict, Free):
                fault = identified.fault or None
        written = first_writer(path, devices) if nearly else None
        seen = replace(seen, look=replace(seen.look, fault=fault, written=written is not None))
        whole = superseded(
            os.fsencode(path.name),
            path.lstat(),
            self._surveyor.names,
            lambda sibling: path.with_name(os.fsdecode(sibling)).lstat(),
        )
        return Found(
            survey=seen,
            verdict=verdict,
            cost=time.thread_time() - began,
            identified=identified,
            whole=whole,
        )


def _read_only(folder: Path) -> str | None:
    """The mount point of a folder that nobody can write to."""
    if not os.statvfs(folder).f_flag & os.ST_RDONLY:
        return None
    mount = mount_of(folder)
    return None if mount is None else os.fsdecode(mount.point)


def _may_look_into(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=True)


def _identified(path: Path, grouping: str, seen: Survey) -> Identified | None:
    """What a file says of itself; None where it may not be read."""
    fingerprint = seen.look.fingerprint
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return None
    try:
        found = identify(descriptor)
    finally:
        os.close(descriptor)
    if isinstance(found, Unidentified):
        stray = found.other and _IMAGE.search(path.name) is None
        return Identified(fingerprint=fingerprint, fault=f"it {found.reason}", stray=stray)
    uids = {
        "study": name_of(found.study),
        "series": name_of(found.series) if found.series else "",
    }
    key = uids[UIDS[grouping]]
    fault = f"it {found.cut}" if found.cut else "" if key else f"it {NO_SERIES}"
    return Identified(fingerprint=fingerprint, uids=uids, key=key, fault=fault)
