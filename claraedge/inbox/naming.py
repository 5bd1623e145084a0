"""Which entries a trigger takes, and the texts that an item gives to its job. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from claraedge.config.inbox import Trigger
from claraedge.config.placeholders import filled
from claraedge.inbox.grouping import stem_of
from claraedge.inbox.patterns import SlowMatchError, groups
from claraedge.metadata import MAX_VALUE_CHARACTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What an item's name and place say."""

    parameters: Mapping[str, str]
    metadata: Mapping[str, str]


class NameDoesNotFitError(ValueError):
    """The name does not fit the `match` of the trigger."""


class SlowNameError(NameDoesNotFitError):
    """Nobody knows whether it does: the match was given up."""


def wanted(trigger: Trigger, name: bytes) -> bool:
    """Whether the trigger takes entries of this name: a path below its folder.

    A pattern with a slash is for the whole path, one without for the last part. A marker need not
    be included: without it there would be no group.
    """
    path = name.decode("utf-8", "surrogateescape")
    is_marker = trigger.marker is not None and stem_of(trigger.marker, name) is not None
    included = is_marker or not trigger.include or _fits(trigger.include, path)
    return included and not _fits(trigger.ignore, path)


def _fits(patterns: Sequence[str], path: str) -> bool:
    last = path.rpartition("/")[2]
    return any(fnmatchcase(path if "/" in p else last, p) for p in patterns)


def named(trigger: Trigger, name: bytes, uids: Mapping[str, str]) -> Named:
    """The parameters and metadata for an item of this name; `uids` are those of its files.

    Raises NameDoesNotFitError.
    """
    path = name.decode("utf-8", "backslashreplace")
    folder, _, last = path.rpartition("/")
    stem, suffix = PurePosixPath(last).stem, PurePosixPath(last).suffix
    values = {"name": last, "stem": stem, "suffix": suffix, "folder": folder, "path": path, **uids}
    if trigger.match is not None:
        found = groups(trigger.match, path)
        if isinstance(found, SlowMatchError):
            raise SlowNameError(
                f"it takes too long to tell whether {path!r} fits `match` of its trigger,"
                f" {trigger.match!r}: rename it, or make that simpler (no repeats in repeats)"
            )
        if found is None:
            raise NameDoesNotFitError(
                f"{path!r} does not fit `match` of its trigger, {trigger.match!r}: rename it, or"
                " change the trigger"
            )
        values |= found
    return Named(
        parameters={key: filled(text, values) for key, text in trigger.parameters.items()},
        metadata={
            key: filled(text, values)[:MAX_VALUE_CHARACTERS]
            for key, text in trigger.metadata.items()
        },
    )
