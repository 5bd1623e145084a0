"""Which entries a trigger takes, and the texts that an item gives to its job. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from claraedge.config.inbox import Trigger, expression
from claraedge.config.placeholders import filled
from claraedge.inbox.triggers.grouping import stem_of
from claraedge.metadata import MAX_VALUE_CHARACTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What an item's name and place say."""

    parameters: Mapping[str, str]
    metadata: Mapping[str, str]


class NameDoesNotFitError(ValueError):
    """The name does not fit the `match` of the trigger."""


def is_marker(trigger: Trigger, name: bytes) -> bool:
    """Whether an entry ends a group. It need not be included: without it there would be none."""
    return trigger.marker is not None and stem_of(trigger.marker, name) is not None


def included(trigger: Trigger, name: bytes) -> bool:
    """Whether the trigger wants entries of this name: a path below its folder.

    A pattern with a slash is for the whole path, one without for the last part.
    """
    return not trigger.include or _first_fit(trigger.include, name) is not None


def may_be_included(trigger: Trigger, name: bytes) -> bool:
    """Whether an unfinished file may get a name that the trigger wants.

    Most programs write that name with something before or behind it: `IM1.dcm.part`,
    `.IM1.dcm.4FgT2x`.
    """
    return any(_first_fit((around,), name) for around in map(_around, trigger.include))


def _around(pattern: str) -> str:
    folder, slash, last = pattern.rpartition("/")
    return f"{folder}{slash}*{last}*"


def ignored_by(trigger: Trigger, name: bytes) -> str | None:
    """The pattern by which the trigger leaves an entry of this name where it is, or None."""
    return _first_fit(trigger.ignore, name)


def _first_fit(patterns: Sequence[str], name: bytes) -> str | None:
    """Case does not count: devices write the same ending in both."""
    path = name.decode("utf-8", "surrogateescape").casefold()
    last = path.rpartition("/")[2]
    for pattern in patterns:
        if fnmatchcase(path if "/" in pattern else last, pattern.casefold()):
            return pattern
    return None


def named(trigger: Trigger, name: bytes, uids: Mapping[str, str]) -> Named:
    """The parameters and metadata for an item of this name; `uids` are those of its files.

    Raises NameDoesNotFitError.
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
