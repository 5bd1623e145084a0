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
#: Groupings that also search the folders in the trigger's folder for files.
DEEP = ("file", "dicom-study", "dicom-series")
#: Placeholders that have a value for each item, in addition to the groups of `match`.
FIELDS = ("name", "stem", "suffix", "folder", "path")

#: Metadata that each job of an item has.
RESERVED = ("source", "item")

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


@functools.lru_cache
def expression(text: str) -> re2._Regexp[str]:
    """The regular expression of a `match`, in the syntax of RE2.

    Whoever drops a file chooses its name, and RE2 needs the same time for all names of the same
    length. Raises re2.error.
    """
    options = re2.Options()
    options.log_errors = False
    return re2.compile(text, options)


class TriggerSettings(Section, frozen=True, kw_only=True):
    """`[[inbox.trigger]]`: a folder whose entries become jobs."""

    folder: Text
    """Folder to watch: absolute, or relative to the inbox. A folder has one trigger."""
    pipeline: Text
    """Pipeline to run: its id, or its name, which means the newest pipeline of that name."""
    deliver: tuple[Text, ...] = ()
    """Outputs to deliver in addition to those that no operator reads: `operator` or
    `operator/output`."""
    priority: Priority = "normal"
    """Priority of the jobs."""
    grouping: Grouping = "entry"
    """What becomes one job; `docs/inbox.md` has the details.

    `entry`: a file, or a folder with its contents.

    `file`: each file, also those in subfolders.

    `folder`: each folder; files next to folders wait.

    `quiet`: all entries, once nothing has changed for `quiet_seconds`.

    `marker`: all entries that are present when the file named by `marker` arrives.

    `dicom-study`, `dicom-series`: the files of one study or series, once none of them has arrived
    or changed for `quiet_seconds`.
    """
    quiet_seconds: Seconds | None = None
    """Time without changes after which a group is complete. Only for the groupings `quiet`,
    `dicom-study` and `dicom-series`. Default: 30."""
    marker: Text | None = None
    """Name of the file that completes a group; required with `grouping = "marker"`, and only
    allowed there. It may contain one `*`, which then names the group: with `*.ready`, the file
    `a.ready` completes the group of `a`, `a.dcm` and `a.json`. Default: none."""
    settle_seconds: Seconds | None = None
    """As `inbox.settle_seconds`, for this folder. Default: `inbox.settle_seconds`."""
    incomplete: Incomplete | None = None
    """What happens to a group in which files are refused, unfinished or not accessible. Only for
    groupings that combine several entries.

    `wait`: the group waits, and `claraedge list inbox` shows the reason.

    `run`: the other files become a job; its messages and `result.json` say that files are missing.

    `fail`: the whole group is moved to the failed items.

    Default: `"wait"`."""
    include: tuple[Text, ...] = ()
    """Shell patterns of the entries to accept, without regard to case: `*.dcm` accepts `A.DCM`.
    Other entries stay in the folder, and `claraedge list inbox` shows them. An empty list accepts
    all."""
    ignore: tuple[Text, ...] = ()
    """Shell patterns of entries that stay in the folder, even if `include` matches them."""
    match: Text | None = None
    """Regular expression (RE2 syntax) for the whole path below `folder`. Its named groups can be
    used in `parameters` and `metadata`. An item that does not match waits, and
    `claraedge list inbox` shows it. Default: none."""
    parameters: dict[Text, str] = msgspec.field(default_factory=dict)
    """Values for the parameters of the pipeline. In a value, `{NAME}` is replaced by that group of
    `match`, and `{name}`, `{stem}`, `{suffix}`, `{folder}` and `{path}` by properties of the item;
    DICOM groupings also have `{study}` and `{series}`. A literal brace is written twice."""
    metadata: dict[Text, str] = msgspec.field(default_factory=dict)
    """Metadata of the job, with the same placeholders as `parameters`."""
    duplicates: Duplicates = "run"
    """What happens when the same content arrives again for the same pipeline and parameters.

    `run`: a new job.

    `skip`: no job.

    `link`: no job; a link in the outbox leads to the earlier results."""
    originals_keep_days: Days | None = None
    """Time that an original is kept after its results were delivered; 0: it is removed at once.
    Default: `outbox.originals_keep_days`."""

    @property
    def quiet(self) -> float:
        return 30.0 if self.quiet_seconds is None else self.quiet_seconds

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a placeholder may have."""
        names = () if self.match is None else tuple(expression(self.match).groupindex)
        uids = ("study", "series") if self.grouping.startswith("dicom") else ()
        return (*FIELDS, *uids, *names)


class InboxSettings(Section, frozen=True, kw_only=True):
    """`[inbox]`: the drop folder."""

    path: Path | None = None
    """The drop folder. Default: `<state>/inbox`."""
    group: Text | None = None
    """Group of the folders that the daemon creates; its members can drop files. Default: the group
    of the parent folder if that has the setgid bit, otherwise the daemon's own."""
    settle_seconds: Seconds = 5.0
    """Time without changes after which an entry is taken."""
    rescan_seconds: Seconds = 30.0
    """Interval between two full scans of a folder, in addition to file system events."""
    poll_seconds: Seconds = 5.0
    """Interval between two full scans of a folder on a file system that sends no events, such as
    NFS and SMB."""
    max_queued: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    """Number of queued jobs at which no further item is taken from the inbox."""
    max_entries: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 50_000
    """Number of entries of one trigger's folder that are watched at the same time; each needs about
    1.6 kB of memory. Further entries are seen once others have left the folder."""
    trigger: tuple[TriggerSettings, ...] = ()
    """Triggers. In addition, each folder of the inbox that has the name of a pipeline is one."""


def mistakes_of(inbox: InboxSettings, root: Path) -> Iterator[str]:
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


def _mistakes_of(trigger: TriggerSettings) -> Iterator[str]:
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
                f"marker: {trigger.marker!r} is a hidden or temporary name, which the inbox"
                " ignores; choose another, as READY or *.ready"
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
