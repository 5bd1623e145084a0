"""Checks whether the entries of an archive are a model that can be unpacked. Pure: only names and
numbers.

Nothing is unpacked before all entries have been checked, so a hostile archive uses no disk space.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from claraedge.errors import InvalidModelError
from claraedge.formats.filenames import DEFAULT, Names
from claraedge.formats.modelfiles import is_meant_as_config, is_unfinished, left_out
from claraedge.models.model import check_name

CONFIG = "config.pbtxt"

MAX_ENTRIES = 10_000
#: Limit in bytes for an archive, and for its unpacked content.
MAX_BYTES = 64 * 1024**3
#: Largest ratio of unpacked to packed size for an archive that unpacks to more than `_RATIO_FROM`
#: bytes.
MAX_RATIO = 100
_RATIO_FROM = 16 * 1024 * 1024
MAX_DEPTH = 16
_MAX_PART_BYTES = 255
_MAX_PATH_BYTES = 1024
_MAX_PROBLEMS = 20

#: Numbers of compression methods (APPNOTE.TXT, 4.4.5). Windows Explorer uses the third one for
#: files larger than 2 GB, and has no option for it.
STORED, DEFLATED, DEFLATED64 = 0, 8, 9
_METHODS = {
    1: "shrink",
    6: "implode",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "xz",
    98: "PPMd",
}
_VERSION = re.compile(r"[1-9][0-9]*")
_ARCHIVE_NAME = re.compile(r"\.(zip|7z|rar|tar|tgz|tar\.\w+)$", re.IGNORECASE)

_BY_FOLDER = "send the folder itself: claraedge create model -p FOLDER -t TYPE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveEntry:
    """One entry of an archive's directory."""

    name: str
    """Its path with `/` between the parts, and at the end of a folder."""
    size: int
    """Unpacked size in bytes."""
    packed: int
    """Size in the archive in bytes."""
    mode: int = 0
    """The Unix mode with the file type; 0 where the archive was created on another system."""
    method: int = DEFLATED
    """The number of the compression method."""
    encrypted: bool = False
    readable: bool = True
    """Whether the name is known: it is UTF-8, or its encoding is declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files and folders to unpack. All paths are relative to the model's folder, with `/`."""

    name: str | None
    """The name of the model's folder in the archive; None: the files are at the top."""
    folders: tuple[str, ...]
    """Every folder, parents first."""
    files: Mapping[str, int]
    """Path -> the number of its entry."""
    left_out: tuple[str, ...] = ()
    """Names in the archive that are skipped."""

    @property
    def versions(self) -> tuple[str, ...]:
        """The folders that the inference server regards as versions."""
        return tuple(folder for folder in self.folders if _VERSION.fullmatch(folder))


def plan(entries: Sequence[ArchiveEntry], names: Names = DEFAULT) -> Layout:
    """Returns the layout. Raises InvalidModelError with every problem (the first twenty).

    Files that desktops and other programs leave in a folder are skipped.
    """
    _check_sizes(entries)
    problems: list[str] = []
    files: dict[str, int] = {}
    folders: set[str] = set()
    passed: set[str] = set()
    for number, entry in enumerate(entries):
        outside = _outside(entry)
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        if outside is None and (found := left_out(parts, names)) is not None:
            passed.add(found)
            continue
        problem = outside or _problem(entry, parts, names)
        if problem is not None:
            problems.append(problem)
            continue
        path = "/".join(parts)
        if not parts:
            continue
        if path in files:
            problems.append(f"{_shown(path)} is in the archive twice; {_BY_FOLDER}")
        elif entry.name.endswith("/"):
            folders.add(path)
        else:
            files[path] = number
            parts.pop()
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    problems += [
        f"{_shown(path)} is a file and a folder in one; {_BY_FOLDER}"
        for path in folders & set(files)
    ]
    if problems:
        raise InvalidModelError(*problems[:_MAX_PROBLEMS])
    if passed and not files:
        shown = ", ".join(_shown(path) for path in sorted(passed)[:5])
        raise InvalidModelError(
            f"the archive holds only {shown}, which is never part of a model; {_BY_FOLDER}"
        )
    name, files, folders = _rooted(files, folders)
    layout = Layout(
        name=name, folders=tuple(sorted(folders)), files=files, left_out=tuple(sorted(passed))
    )
    if not layout.versions:
        raise InvalidModelError(_no_version(files, folders))
    return layout


def _check_sizes(entries: Sequence[ArchiveEntry]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidModelError(
            f"the archive holds {len(entries)} entries; a model has at most {MAX_ENTRIES}: archive"
            " the model's folder alone"
        )
    unpacked = sum(entry.size for entry in entries)
    packed = sum(entry.packed for entry in entries)
    if unpacked > MAX_BYTES:
        raise InvalidModelError(
            f"the archive would unpack to {unpacked} bytes; a model has at most {MAX_BYTES}:"
            " archive the model's folder alone"
        )
    if unpacked > _RATIO_FROM and unpacked > MAX_RATIO * packed:
        raise InvalidModelError(
            f"the archive's {packed} bytes would unpack to {unpacked}, more than {MAX_RATIO} times"
            " as many: that is no model, or it must be archived without compression"
        )


def _outside(entry: ArchiveEntry) -> str | None:
    """Returns why the name of this entry is no place in the archive's folder; None where it is."""
    shown = _shown(entry.name)
    if not entry.readable:
        return (
            f"{shown} is a name with letters that cannot be read, since the archive does not say"
            f" their encoding; rename the file to plain letters and digits, or {_BY_FOLDER}"
        )
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in entry.name):
        return f"{shown} holds a control character; rename the file"
    if entry.name.startswith("/") or re.match("[A-Za-z]:", entry.name):
        return f"{shown} is an absolute name; archive the model's folder by a relative one"
    if ".." in entry.name.split("/"):
        return f"{shown} holds '..', which leaves the model's folder; {_BY_FOLDER}"
    return None


def _problem(entry: ArchiveEntry, parts: Sequence[str], names: Names) -> str | None:
    """Returns why this entry cannot be unpacked, regardless of the others; None where it can."""
    shown = _shown(entry.name)
    folder = entry.name.endswith("/")
    if len(entry.name.split("/")) - folder > MAX_DEPTH:
        return f"{shown} lies more than {MAX_DEPTH} folders deep; use fewer folders"
    lengths = [len(part.encode("utf-8", "surrogatepass")) for part in parts] or [0]
    if max(lengths) > _MAX_PART_BYTES or sum(lengths) + len(lengths) > _MAX_PATH_BYTES:
        return f"{shown} is a name that is too long; shorten it"
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        return (
            f"{shown} is a link or a device; a model holds plain files and folders only: put the"
            " file itself there"
        )
    if entry.encrypted:
        return f"{shown} is encrypted; make the archive without a password, or {_BY_FOLDER}"
    if entry.method not in (STORED, DEFLATED, DEFLATED64):
        name = _METHODS.get(entry.method, f"method {entry.method}")
        return (
            f"{shown} is compressed by {name}, which few programs can read; in 7-Zip choose the"
            f" archive format zip and the compression method Deflate, or {_BY_FOLDER}"
        )
    if any(is_unfinished(part, names) for part in parts):
        return (
            f"{shown} has the name of a file that is still being copied or downloaded; let that"
            " end, or remove the file, and archive the folder again"
        )
    return None


def _rooted(
    files: dict[str, int], folders: set[str]
) -> tuple[str | None, dict[str, int], set[str]]:
    """Finds the model's folder, below folders that contain nothing else, and removes it from the
    paths.

    Raises InvalidModelError.
    """
    if CONFIG in files:
        return None, files, folders
    roots = _outermost(path for path in files if path.endswith(f"/{CONFIG}"))
    if not roots:
        raise InvalidModelError(_no_config(files, folders))
    if len(roots) > 1:
        shown = ", ".join(_shown(root) for root in roots[:5])
        raise InvalidModelError(
            f"the archive holds {len(roots)} models, in {shown}; send each of these folders by"
            " itself"
        )
    (root,) = roots
    above = {root[:at] for at, sign in enumerate(root) if sign == "/"} | {root}
    outside = sorted(p for p in (*files, *folders - above) if not p.startswith(f"{root}/"))
    if outside:
        shown = ", ".join(_shown(path) for path in outside[:5])
        raise InvalidModelError(
            f"the model is in the folder {_shown(root)} of the archive, and outside it are {shown};"
            f" archive that folder alone, or {_BY_FOLDER}"
        )
    name = root.rpartition("/")[2]
    check_name(name)
    return (
        name,
        {path.removeprefix(f"{root}/"): number for path, number in files.items()},
        {path.removeprefix(f"{root}/") for path in folders - above},
    )


def _outermost(configs: Iterable[str]) -> list[str]:
    """Returns the folders of these files that are not inside another one of them."""
    found: list[str] = []
    for folder in sorted((c.rpartition("/")[0] for c in configs), key=lambda f: f.count("/")):
        if not any(folder.startswith(f"{other}/") for other in found):
            found.append(folder)
    return sorted(found)


def _no_config(files: Mapping[str, int], folders: Collection[str]) -> str:
    """Explains why an archive contains no configuration: what was sent, and what to send."""
    if not files and not folders:
        return f"the archive is empty; {_BY_FOLDER}"
    if any(path.endswith("/data.pkl") for path in files):
        return (
            "this is a file of PyTorch, which is a zip archive of its own, and no model's folder:"
            f" make a folder with {CONFIG} in it, and this file as 1/model.pt, and send that folder"
        )
    if files and all(_ARCHIVE_NAME.search(path) for path in files):
        return (
            f"the archive holds another archive, {_shown(min(files))}, and no model; unpack that"
            f" one and {_BY_FOLDER}"
        )
    near = [path for path in files if is_meant_as_config(path.rpartition("/")[2])]
    if near:
        return (
            f"the archive holds {_shown(min(near))}, and the inference server reads only {CONFIG};"
            " rename the file (Windows Explorer shows whole names where View, File name extensions"
            " is on)"
        )
    tops = sorted({path.partition("/")[0] for path in (*files, *folders)})
    what = ", ".join(_shown(top) for top in tops[:5])
    if len(tops) == 1 and tops[0] not in files:
        return (
            f"the folder {what} holds no {CONFIG}: that is the model's configuration for the"
            " inference server, and belongs next to the folders of its versions"
        )
    return (
        f"the top of the archive holds {what}; it must hold one folder, named like the model, with"
        f" {CONFIG} in it, or {CONFIG} itself"
    )


def _no_version(files: Mapping[str, int], folders: Collection[str]) -> str:
    near = sorted(f for f in folders if "/" not in f and re.search("[0-9]", f))
    if near:
        return (
            f"the model has no version: {_shown(near[0])} is no name of one for the inference"
            " server; rename the folder to a whole number from 1 on, such as 1"
        )
    loose = sorted(path for path in files if "/" not in path and path != CONFIG)
    which = f"{_shown(loose[0])}" if loose else "its files"
    return (
        f"the model has no version: put {which} into a folder whose name is a whole number, such as"
        f" 1, next to {CONFIG}"
    )


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "...")
