"""Reads a pipeline's file of `pipelines.d`, with all that it imports, and nothing outside the
folder.

A symbolic link is followed only to a place in the same folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from claraedge import texts
from claraedge.fs.listing import EntryStatus
from claraedge.pipelines.model import DefinitionFile
from claraedge.pipelines.syntax.gathering import (
    MAX_BYTES,
    MAX_FILES,
    Import,
    imports_of,
    resolve_import,
)
from claraedge.pipelines.syntax.problems import At, Location, Problem, Report, shown
from claraedge.pipelines.syntax.reader import read

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Standing(NamedTuple):
    """The state of a path; None: nothing is there, or it cannot be accessed."""

    itself: EntryStatus | None
    target: EntryStatus | None
    """The state of the target where the path is a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatheredDefinition:
    """A definition as found in the folder. Paths are relative to the folder."""

    files: tuple[DefinitionFile, ...]
    """The files that could be read, the root first."""
    standings: Mapping[str, Standing]
    """The state of every path that was searched for, as it was after the read."""
    problems: tuple[Problem, ...]
    """Errors: why the set of files is incomplete."""


class _RejectedError(Exception):
    """A file is not accepted."""

    def __init__(self, code: str, message: str, fix: str, at: Location | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.fix, self.at = code, message, fix, at


def gather(folder: Path, root: str) -> GatheredDefinition:
    """Reads the file `root` of the folder, and what it imports. Blocks; raises no OSError."""
    report = Report()
    base = Path(os.path.realpath(folder))
    wanted: dict[str, Location] = {root: At(root)}
    folded: dict[str, str] = {}
    found: list[DefinitionFile] = []
    waiting = [root]
    size = 0
    while waiting:
        path = waiting.pop(0)
        try:
            if folded.setdefault(path.casefold(), path) != path:
                raise _RejectedError(
                    "names-differ-by-case",
                    f"its name differs from {shown(folded[path.casefold()])} only in upper and"
                    " lower case, and the platform treats such files as one",
                    "rename one of them",
                )
            content = _content(base, folder, path)
            size += len(content)
            if len(wanted) > MAX_FILES or size > MAX_BYTES:
                raise _RejectedError(
                    "definition-too-large",
                    f"the definition is more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB",
                    "import less",
                    At(root),
                )
            text = _text(path, content)
        except _RejectedError as refused:
            at = refused.at or (At(path) if path == root else wanted[path])
            report.error(refused.code, at, refused.message, refused.fix)
            if refused.code == "definition-too-large":
                break
            continue
        found.append(DefinitionFile(path=path, content=text))
        for taken in _imports(path, text):
            inner = resolve_import(path, taken.path)
            if inner == ".." or inner.startswith("../"):
                report.error(
                    "import-outside",
                    taken,
                    f"{shown(taken.path)} leads out of the folder {folder}",
                    "put the file into a sub-folder there, and import it from there",
                )
            elif inner not in wanted:
                wanted[inner] = taken
                waiting.append(inner)
    return GatheredDefinition(
        files=tuple(found),
        standings={path: standing(folder, path) for path in wanted},
        problems=report.problems(),
    )


def standing(folder: Path, path: str) -> Standing:
    """Returns the current state of a path of the folder. Blocks."""
    try:
        place = os.fsencode(folder / path)
        itself = os.lstat(place)
    except (OSError, ValueError):
        return Standing(None, None)
    if not stat.S_ISLNK(itself.st_mode):
        return Standing(EntryStatus.of(itself), None)
    try:
        return Standing(EntryStatus.of(itself), EntryStatus.of(Path(folder / path).stat()))
    except OSError:
        return Standing(EntryStatus.of(itself), None)


def remedy(place: Path) -> str:
    """Returns what to do so that the daemon can read a file or a folder.

    The text contains no command: whoever may write to a folder on the way could lead an
    administrator elsewhere.
    """
    closed = [p for p in reversed(place.parents) if not os.access(p, os.X_OK, effective_ids=True)]
    mode = "0755" if closed or os.path.isdir(place) else "0644"  # noqa: PTH112 raises nothing
    return f"its owner has to give {texts.shown(str(closed[0] if closed else place))} mode {mode}"


def _imports(path: str, text: str) -> tuple[Import, ...]:
    node = read(text, path, Report())
    return () if node is None else imports_of(node, path, {})


def _text(path: str, content: bytes) -> str:
    try:
        return texts.decode(content)
    except texts.NotTextError as error:
        raise _RejectedError(
            "not-utf-8", error.problem, error.remedy, At(path, error.line, error.column)
        ) from error


def _content(base: Path, folder: Path, path: str) -> bytes:
    """Returns the content of a file. `base`: the folder with all links resolved. Raises
    _RefusedError.
    """
    place = folder / path
    try:
        real = Path(os.path.realpath(base / path, strict=True))
        if not real.is_relative_to(base):
            raise _RejectedError(
                "import-outside",
                f"{shown(path)} is a link that leads out of the folder {folder}",
                "put a copy of the file there",
            )
        return _read(base, real.relative_to(base))
    except PermissionError as error:
        raise _RejectedError(
            "unreadable-file",
            f"{shown(str(place), 400)} cannot be read by the daemon ({error.strerror})",
            remedy(place),
        ) from error
    except OSError as error:
        if error.errno in _ABSENT:
            link = os.path.islink(place)  # noqa: PTH114 raises nothing
            what = "nothing behind the link" if link else "no file"
            raise _RejectedError(
                "unknown-file",
                f"there is {what} {shown(str(place), 400)}",
                "put the file there, or remove what names it",
            ) from error
        raise _RejectedError(
            "unreadable-file",
            f"{shown(str(place), 400)} cannot be read: {error.strerror or error}",
            "replace it by a plain file",
        ) from error
    except ValueError as error:  # no valid file name
        raise _RejectedError(
            "unknown-file", f"{shown(path)} is no name of a file", "choose another name"
        ) from error


def _read(base: Path, path: Path) -> bytes:
    """Reads a file below the folder without following links. Raises OSError."""
    *parents, name = path.parts or (".",)
    with ExitStack() as opened:
        inner = os.open(base, _FOLDER & ~os.O_NOFOLLOW)
        opened.callback(os.close, inner)
        for part in parents:
            inner = os.open(part, _FOLDER, dir_fd=inner)
            opened.callback(os.close, inner)
        # Check before opening: opening a device can have side effects.
        _refuse_special(os.stat(name, dir_fd=inner, follow_symlinks=False))
        descriptor = os.open(name, _FILE, dir_fd=inner)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _refuse_special(status)
            content = b"" if status.st_size > MAX_BYTES else file.read(MAX_BYTES + 1)
    if status.st_size > MAX_BYTES or len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES >> 20} MiB")
    return content


def _refuse_special(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
