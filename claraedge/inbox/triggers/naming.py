"""Decides by name which entries a trigger accepts, and derives parameters from names. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from claraedge.config.inbox import TriggerSettings, expression
from claraedge.config.placeholders import filled
from claraedge.inbox.triggers.grouping import stem_of
from claraedge.metadata import MAX_VALUE_CHARACTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The parameters and metadata that an item's name and place give to its job."""

    parameters: Mapping[str, str]
    metadata: Mapping[str, str]


class NameDoesNotFitError(ValueError):
    """The name does not fit the `match` of the trigger."""


def is_marker(trigger: TriggerSettings, name: bytes) -> bool:
    """Whether an entry is a marker, which ends a group. It need not be in `include`."""
    return trigger.marker is not None and stem_of(trigger.marker, name) is not None


def included(trigger: TriggerSettings, name: bytes) -> bool:
    """Whether `include` of the trigger accepts this name, which is a path below its folder.

    A pattern with a slash applies to the whole path, one without to the last part.
    """
    return not trigger.include or _first_fit(trigger.include, name) is not None


def may_be_included(trigger: TriggerSettings, name: bytes) -> bool:
    """Whether an unfinished file may later get a name that the trigger accepts.

    Most programs add something before or after the final name: `IM1.dcm.part`, `.IM1.dcm.4FgT2x`.
    """
    return any(_first_fit((around,), name) for around in map(_around, trigger.include))


def _around(pattern: str) -> str:
    folder, slash, last = pattern.rpartition("/")
    return f"{folder}{slash}*{last}*"


def ignored_by(trigger: TriggerSettings, name: bytes) -> str | None:
    """Returns the pattern in `ignore` of the trigger that matches this name, or None."""
    return _first_fit(trigger.ignore, name)


def _first_fit(patterns: Sequence[str], name: bytes) -> str | None:
    """Returns the first matching pattern. Ignores case: devices write the same ending in both."""
    path = name.decode("utf-8", "surrogateescape").casefold()
    last = path.rpartition("/")[2]
    for pattern in patterns:
        if fnmatchcase(path if "/" in pattern else last, pattern.casefold()):
            return pattern
    return None


def named(trigger: TriggerSettings, name: bytes, uids: Mapping[str, str]) -> Named:
    """Returns the parameters and metadata for an item of this name.

    `uids`: the DICOM UIDs of its files, as further values. Raises NameDoesNotFitError.
    """
    path = name.decode("utf-8", "backslashreplace")
    folder, _, last = path.rpartition("/")
    stem, suffix = PurePosixPath(last).stem, PurePosixPath(last).suffix
    values = {"name": last, "stem": stem, "suffix": suffix, "folder": folder, "path": path, **uids}
    if trigger.match is not None:
        found = expression(trigger.match).fullmatch(path)
        if found is None:
            raise NameDoesNotFitError(
                f"{path!r} does not fit `match` of its trigger, {trigger.match!r}: rename it, or"
                " change the trigger"
            )
        values |= found.groupdict("")
    return Named(
        parameters={key: filled(text, values) for key, text in trigger.parameters.items()},
        metadata={
            key: filled(text, values)[:MAX_VALUE_CHARACTERS]
            for key, text in trigger.metadata.items()
        },
    )
