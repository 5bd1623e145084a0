"""Decides which paths below a trigger's folder are entries, and why others are not. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from claraedge.config.inbox import TriggerSettings
from claraedge.formats.filenames import NameKind, Names, Row
from claraedge.inbox.model import shown
from claraedge.inbox.triggers.naming import ignored_by, included, is_marker, may_be_included


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The path is an entry."""

    unfinished: str = ""
    """Why its name marks it as unfinished, and what to do; empty: it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """The path is no entry, and is never taken."""

    path: bytes
    """The outermost part of the path that causes this: a folder stands for all that is in it."""
    reason: str
    remedy: str


def select(rule: TriggerSettings, path: bytes, names: Names) -> Selected | LeftOut:
    """Decides whether a path below a trigger's folder is an entry.

    For a deep trigger, `path` is that of a file in its tree; else a name at the top of its folder.
    """
    parts = path.split(b"/")
    unfinished = ""
    for count, part in enumerate(parts, 1):
        row = names.find(part)
        if row is not None and row.kind is NameKind.LEFTOVER:
            return _left_over(b"/".join(parts[:count]), row)
        is_folder = count < len(parts)
        if row is not None:
            unfinished = unfinished or _unfinished(part, row)
        elif part.startswith(b".") and not (is_folder and rule.grouping in _BY_CONTENT):
            if is_folder:
                return _hidden_folder(b"/".join(parts[:count]))
            unfinished = unfinished or _HIDDEN
    wanted = included(rule, path) or (unfinished and may_be_included(rule, path))
    if not (wanted or is_marker(rule, path)):
        return LeftOut(
            path=path,
            reason=f"fits none of the patterns of its trigger: {_listed(rule.include)}",
            remedy="rename it, or add a pattern to `include` of the trigger",
        )
    if (pattern := ignored_by(rule, path)) is not None:
        return LeftOut(
            path=path,
            reason=f"fits {pattern} in `ignore` of its trigger",
            remedy="rename it, or take the pattern out of the trigger",
        )
    return Selected(unfinished=unfinished)


#: Groupings that know by the content of a file what it belongs to. With them, folders may be named
#: after their series, also with a leading dot (commontk/CTK#797).
_BY_CONTENT = ("dicom-study", "dicom-series")

_HIDDEN = (
    "its name begins with a dot, as that of a file which is not whole yet; rename it to have it"
    " taken, or remove it"
)


def _unfinished(part: bytes, row: Row) -> str:
    return (
        f"'{shown(part)}' is the name of an unfinished file ({row.program}); it is taken once it is"
        " renamed. If nobody is writing it any more, rename or remove it"
    )


def _left_over(path: bytes, row: Row) -> LeftOut:
    return LeftOut(
        path=path,
        reason=f"belongs to a program ({row.program}) and is never an input",
        remedy="if it is content of yours, rename it, or list its name in [names] content",
    )


def no_trigger(path: bytes) -> LeftOut:
    """Returns why a path at the top of the inbox, where folders are triggers, is none."""
    return LeftOut(
        path=path,
        reason="is hidden, or has the name of an unfinished file: it is no folder of a trigger",
        remedy="rename it like a pipeline, or move what is in it into a folder named like one",
    )


def _hidden_folder(path: bytes) -> LeftOut:
    return LeftOut(
        path=path,
        reason="is a hidden folder: what is in it is not taken",
        remedy="rename it without the dot to have its files taken",
    )


def _listed(patterns: tuple[str, ...]) -> str:
    return ", ".join(patterns[:5]) + (", ..." if len(patterns) > 5 else "")
