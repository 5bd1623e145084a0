"""Decides whether a trigger would take a file that a client wants to drop. Pure."""

from __future__ import annotations

import os
import unicodedata

from claraedge.errors import FileNotTakenError, InvalidFileNameError
from claraedge.formats.filenames import Names
from claraedge.inbox.inspection.survey import name_fault
from claraedge.inbox.model import shown
from claraedge.inbox.triggers.selection import LeftOut, select
from claraedge.inbox.triggers.triggers import Trigger, Triggers
from claraedge.payloads.names import check_depth, normalise


def checked(trigger: Trigger, layout: Triggers, name: str, names: Names) -> str:
    """Returns the path below a trigger's folder under which a dropped file of this name appears.

    Raises InvalidFileNameError for a name that leads out of the folder or that no file may have,
    and FileNotTakenError where the trigger would never take the file, or wait for it for ever.
    """
    text = repr(name if len(name) <= 80 else name[:77] + "...")
    if name.startswith("/"):
        raise InvalidFileNameError(
            f"the file name {text} begins with '/'; give the name below the drop folder"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidFileNameError(
            f"the file name {text} holds a control character; rename the file"
        )
    stored = check_depth(normalise(name))
    path = stored.encode()
    if (fault := name_fault(path)) is not None:
        raise InvalidFileNameError(fault)
    top, *inside = path.split(b"/")
    place = layout.place(os.fsencode(trigger.folder) + b"/" + path)
    if place is None or place.trigger.folder != trigger.folder:
        raise FileNotTakenError(
            f"{text} would lie in or above the folder of another trigger; choose that folder"
            " instead, or rename the file"
        )
    selected = select(trigger.rule, path if trigger.deep else top, names)
    if isinstance(selected, LeftOut):
        raise FileNotTakenError(f"'{shown(selected.path)}' {selected.reason}; {selected.remedy}")
    if selected.unfinished:
        raise FileNotTakenError(f"{text} is not taken: {selected.unfinished}")
    if not trigger.deep:
        _refuse_unwanted(inside, names)
    if trigger.rule.grouping == "folder" and not inside:
        raise FileNotTakenError(
            f"the trigger accepts folders, and {text} is a file by itself; put it into a folder:"
            f" 'FOLDER/{shown(top)}'"
        )
    return stored


def _refuse_unwanted(parts: list[bytes], names: Names) -> None:
    """Raises FileNotTakenError for a part of a path, within a folder that is one item, which is the
    name of no input.
    """
    for part in parts:
        row = names.find(part)
        if row is not None and names.leftover(part):
            raise FileNotTakenError(
                f"'{shown(part)}' belongs to a program ({row.program}) and is never an input; leave"
                " it out"
            )
        if row is not None:
            raise FileNotTakenError(
                f"'{shown(part)}' is the name of an unfinished file ({row.program}), for which its"
                " folder would wait; rename it"
            )
