"""`[inbox]` and `[[inbox.trigger]]`: which folders make which jobs."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
import re2

from claraedge.config.placeholders import unknown
from claraedge.config.sections import Days, Seconds, Section, Text
from claraedge.formats.filenames import is_ignored
from claraedge.metadata import MAX_KEY_BYTES

Grouping: TypeAlias = Literal[
    "entry", "file", "folder", "quiet", "marker", "dicom-study", "dicom-series"
]
Priority: TypeAlias = Literal["lower", "normal", "higher", "immediate"]
Duplicates: TypeAlias = Literal["run", "skip", "link"]
Incomplete: TypeAlias = Literal["wait", "run", "fail"]

#: Groupings that gather what arrives until nothing more does.
GATHERING = ("quiet", "dicom-study", "dicom-series")
#: Groupings whose items are made of several entries.
GROUPED = (*GATHERING, "marker")
#: Groupings that look for files in folders of the trigger's folder as well.
DEEP = ("file", "dicom-study", "dicom-series")
#: What each item has a text for, besides the groups of `match`.
FIELDS = ("name", "stem", "suffix", "folder", "path")

#: Metadata that each job of an item has.
RESERVED = ("source", "item")

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


@functools.lru_cache
def expression(text: str) -> re2._Regexp[str]:
    """The regular expression of a `match`, in the syntax of RE2.

    Whoever drops a file chooses its name, and RE2 takes no longer for one than for another of its
    length. Raises re2.error.
    """
    options = re2.Options()
    options.log_errors = False
    return re2.compile(text, options)


class Trigger(Section, frozen=True, kw_only=True):
    """`[[inbox.trigger]]`: a folder whose entries become jobs."""

    folder: Text
    """Relative to the inbox, or absolute."""
    pipeline: Text
    """Name (the newest of that name) or id."""
    deliver: tuple[Text, ...] = ()
    """Outputs to deliver besides those that no operator reads: `operator` or `operator/output`."""
    priority: Priority = "normal"
    grouping: Grouping = "entry"
    """What one job is made of; `docs/inbox.md` says more.

    entry: a file, or a folder with all that is in it. file: each file, also those in folders.
    folder: each folder; files beside them wait. quiet: all that is there once nothing has changed
    for `quiet_seconds`. marker: all that is there when a file named `marker` comes. dicom-study,
    dicom-series: files of one study or series, once no more of it came for `quiet_seconds`.
    """
    quiet_seconds: Seconds | None = None
    """Default: 30."""
    marker: Text | None = None
    """A file's name. With one `*`, what that stands for is the group: `*.ready` as `a.ready` ends
    `a`, `a.dcm`, `a.json` and no others."""
    settle_seconds: Seconds | None = None
    """Default: `inbox.settle_seconds`."""
    incomplete: Incomplete | None = None
    """What becomes of a group of which files are refused, unfinished or not ours to take. wait (the
    default): it waits, and says for what. run: a job of the others, which says so in its messages
    and in `result.json`. fail: the group goes to the failures as a whole."""
    include: tuple[Text, ...] = ()
    """Only entries that one of these patterns fits, whatever the case: `*.dcm` takes `A.DCM`.
    Others stay there, and `claraedge list inbox` shows them."""
    ignore: tuple[Text, ...] = ()
    """Entries that stay where they are, also if `include` fits."""
    match: Text | None = None
    """A regular expression for the whole path below `folder`: its named groups are texts for
    `parameters` and `metadata`. An item that it does not fit waits, and says so."""
    parameters: dict[Text, str] = msgspec.field(default_factory=dict)
    """Parameters of the pipeline: texts, in which `{NAME}` stands for a group of `match`, or for
    `{name}`, `{stem}`, `{suffix}`, `{folder}`, `{path}` of the item."""
    metadata: dict[Text, str] = msgspec.field(default_factory=dict)
    """Metadata of the job; as `parameters`."""
    duplicates: Duplicates = "run"
    """What follows when the same content comes again for the same pipeline and parameters: a new
    job; nothing; or a link to the results of before."""
    originals_keep_days: Days | None = None
    """How long the original is kept once its job is done; 0: it is removed then. Default:
    `outbox.originals_keep_days`."""

    @property
    def quiet(self) -> float:
        return 30.0 if self.quiet_seconds is None else self.quiet_seconds

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a placeholder may have."""
        names = () if self.match is None else tuple(expression(self.match).groupindex)
        uids = ("study", "series") if self.grouping.startswith("dicom") else ()
        return (*FIELDS, *uids, *names)


class Inbox(Section, frozen=True, kw_only=True):
    """`[inbox]`."""

    path: Path | None = None
    """Default: `<state>/inbox`."""
    group: Text | None = None
    """Of the folders that the daemon makes: its members drop files. Default: that of the folder
    above where that has the setgid bit, else the daemon's own."""
    settle_seconds: Seconds = 5.0
    """An entry is taken once it was unchanged for so long."""
    rescan_seconds: Seconds = 30.0
    """Every folder is looked at again after so long, whatever the watcher said."""
    poll_seconds: Seconds = 5.0
    """The same for folders on file systems that send no events, as NFS and SMB."""
    max_queued: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    """Nothing is taken in while so many started jobs wait for their turn."""
    max_entries: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 50_000
    """Of one trigger's folder, so many entries are watched at once, about 1.6 kB of memory each;
    the others are seen as these leave it."""
    trigger: tuple[Trigger, ...] = ()
    """Beyond these, a folder of the inbox that is named like a pipeline is a trigger."""


def mistakes_of(inbox: Inbox, root: Path) -> Iterator[str]:
    """What is wrong beyond types: settings without effect, patterns that are none.

    `root` is the inbox's folder.
    """
    folders: dict[str, int] = {}
    for number, trigger in enumerate(inbox.trigger):
        place = f"inbox.trigger[{number}]"
        folder = os.path.normpath(root / trigger.folder)
        if folder == os.path.normpath(root):
            yield (
                f"{place}.folder: {trigger.folder!r} is the inbox itself, whose folders are"
                " triggers of their own; name a folder in it"
            )
        if (first := folders.setdefault(folder, number)) != number:
            yield (
                f"{place}.folder: {trigger.folder!r} is that of inbox.trigger[{first}] as well; a"
                " folder has one trigger"
            )
        for text in _mistakes_of(trigger):
            yield f"{place}.{text}"


def _mistakes_of(trigger: Trigger) -> Iterator[str]:
    if trigger.quiet_seconds is not None and trigger.grouping not in GATHERING:
        yield (
            f'quiet_seconds: has no effect with grouping = "{trigger.grouping}"; take it out, or'
            f" choose one of {', '.join(GATHERING)}"
        )
    if trigger.incomplete is not None and trigger.grouping not in GROUPED:
        yield (
            f'incomplete: has no effect with grouping = "{trigger.grouping}", whose items are whole'
            f" or not taken; take it out, or choose one of {', '.join(GROUPED)}"
        )
    if trigger.grouping == "marker" and trigger.marker is None:
        yield 'marker: is missing; name the file that ends a group, as "READY" or "*.ready"'
    if trigger.marker is not None:
        if trigger.grouping != "marker":
            yield f'marker: has no effect with grouping = "{trigger.grouping}"; take it out'
        elif trigger.marker.count("*") > 1 or "/" in trigger.marker or trigger.marker == "*":
            yield f"marker: {trigger.marker!r} must be a file's name with at most one *"
        elif is_ignored(trigger.marker.encode()) or is_ignored(
            trigger.marker.replace("*", "x").encode()
        ):
            yield (
                f"marker: {trigger.marker!r} is a hidden or temporary name, which the inbox never"
                " looks at; choose another, as READY or *.ready"
            )
    if trigger.match is not None:
        try:
            groups = expression(trigger.match).groupindex
        except re2.error as error:
            yield (
                f"match: is no regular expression ({error.args[0].decode()}); correct it. Its"
                " syntax is that of RE2, which has no lookaround and no backreferences"
            )
            return
        if groups and not trigger.parameters and not trigger.metadata:
            yield "match: its groups have no effect; name them in parameters or metadata"
        for name in set(groups) & {*FIELDS, "study", "series"}:
            yield f"match: the group {name!r} has the name of a field of every item; rename it"
    for name in ("parameters", "metadata"):
        for key, text in getattr(trigger, name).items():
            for wrong in unknown(text, trigger.fields):
                yield (
                    f"{name}.{key}: {{{wrong}}} has no meaning; there are"
                    f" {', '.join('{' + field + '}' for field in trigger.fields)}. For a brace"
                    " write it twice"
                )
    for key in trigger.parameters:
        if not re.fullmatch(_NAME, key):
            yield f"parameters: {key!r} cannot be a parameter's name; use letters, digits and _"
    for key in trigger.metadata:
        if len(key.encode()) > MAX_KEY_BYTES:
            yield f"metadata: the key {key[:32]!r}... is longer than {MAX_KEY_BYTES} bytes"
        if key.casefold() in RESERVED:
            yield f"metadata: {key!r} is set by the daemon; rename it"
