"""Whether the entries of an archive are a model that can be unpacked. Pure: names and numbers only.

Nothing is unpacked before all entries have passed, so a hostile archive costs no disk.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claraedge.errors import InvalidModelError
from claraedge.models.model import check_name

CONFIG = "config.pbtxt"

MAX_ENTRIES = 10_000
#: Bytes of an archive, and of all that is in it.
MAX_BYTES = 64 * 1024**3
#: An archive that unpacks to more than `_RATIO_FROM` bytes may not shrink by more than this.
MAX_RATIO = 100
_RATIO_FROM = 16 * 1024 * 1024
MAX_DEPTH = 16
_MAX_PART_BYTES = 255
_MAX_PATH_BYTES = 1024
_MAX_TOLD = 20

STORED, DEFLATED = 0, 8
_VERSION = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of an archive's directory."""

    name: str | None
    """As it is written there, with a slash at the end of a folder; None: not UTF-8."""
    size: int
    """Bytes, unpacked."""
    packed: int
    """Bytes in the archive."""
    mode: int = 0
    """As of Unix, with the type of the file; 0 where the archive was made elsewhere."""
    method: int = DEFLATED
    """Number of the compression."""
    encrypted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is to be unpacked. All paths are relative to the model's folder, with `/`."""

    name: str | None
    """Of the model's folder in the archive; None: the files are at the top."""
    folders: tuple[str, ...]
    """Every folder, parents first."""
    files: Mapping[str, int]
    """Path -> the number of its entry."""


def plan(entries: Sequence[Entry]) -> Layout:
    """The layout; InvalidModelError with every problem (the first twenty) where there is none.

    Finder's own `__MACOSX` folder and `.DS_Store` files are left out.
    """
    _check_sizes(entries)
    problems: list[str] = []
    files: dict[str, int] = {}
    folders: set[str] = set()
    for number, entry in enumerate(entries):
        problem = _problem(entry)
        if problem is not None:
            problems.append(problem)
            continue
        assert entry.name is not None
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        if not parts or parts[0] == "__MACOSX" or parts[-1] == ".DS_Store":
            continue
        path = "/".join(parts)
        if path in files:
            problems.append(f"{_shown(path)} is in the archive twice")
        elif entry.name.endswith("/"):
            folders.add(path)
        else:
            files[path] = number
            parts.pop()
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    problems += [f"{_shown(path)} is a file and a folder at once" for path in folders & set(files)]
    if problems:
        raise InvalidModelError(*problems[:_MAX_TOLD])
    return _rooted(files, folders)


def _check_sizes(entries: Sequence[Entry]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidModelError(
            f"the archive holds {len(entries)} entries; a model has at most {MAX_ENTRIES}"
        )
    unpacked = sum(entry.size for entry in entries)
    packed = sum(entry.packed for entry in entries)
    if unpacked > MAX_BYTES:
        raise InvalidModelError(
            f"the archive would unpack to {unpacked} bytes; a model has at most {MAX_BYTES}"
        )
    if unpacked > _RATIO_FROM and unpacked > MAX_RATIO * packed:
        raise InvalidModelError(
            f"the archive's {packed} bytes would unpack to {unpacked}, more than {MAX_RATIO} times"
            " as many: that is no model, or it must be archived without compression"
        )


def _problem(entry: Entry) -> str | None:
    """Why this entry cannot be unpacked, whatever the others are."""
    if entry.name is None:
        return "the archive holds a name that is not UTF-8; rename the file and archive it again"
    shown = _shown(entry.name)
    parts = entry.name.split("/")
    kind = stat.S_IFMT(entry.mode)
    folder = entry.name.endswith("/")
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in entry.name):
        return f"{shown} holds a control character; rename the file"
    if "\\" in entry.name:
        return f"{shown} holds a backslash; make the archive with a tool that writes `/`"
    if entry.name.startswith("/") or re.match("[A-Za-z]:", entry.name):
        return f"{shown} is an absolute name; archive the model's folder by a relative one"
    if ".." in parts:
        return f"{shown} holds '..', which leaves the model's folder"
    if len(parts) - folder > MAX_DEPTH:
        return f"{shown} lies more than {MAX_DEPTH} folders deep"
    lengths = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(lengths) > _MAX_PART_BYTES or sum(lengths) + len(lengths) > _MAX_PATH_BYTES:
        return f"{shown} is a name that is too long; shorten it"
    if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        return f"{shown} is a link or a device; a model holds plain files and folders only"
    if entry.encrypted:
        return f"{shown} is encrypted; make the archive without a password"
    if entry.method not in (STORED, DEFLATED):
        return f"{shown} is compressed by method {entry.method}; use deflate, or none"
    return None


def _rooted(files: Mapping[str, int], folders: set[str]) -> Layout:
    """Finds the model's folder, and takes it off the paths."""
    name = None
    if CONFIG not in files:
        tops = {path.partition("/")[0] for path in (*files, *folders)}
        loose = sorted(tops & set(files))
        if len(tops) != 1 or loose:
            what = ", ".join(_shown(top) for top in sorted(tops)[:5]) or "nothing"
            raise InvalidModelError(
                f"the top of the archive holds {what}; it must hold one folder, named like the"
                f" model, with {CONFIG} in it, or {CONFIG} itself"
            )
        (name,) = tops
        check_name(name)
        files = {path.removeprefix(f"{name}/"): number for path, number in files.items()}
        folders = {path.removeprefix(f"{name}/") for path in folders - {name}}
        if CONFIG not in files:
            raise InvalidModelError(
                f"the folder {_shown(name)} holds no {CONFIG}: that is the model's configuration"
                " for the inference server"
            )
    if not any(_VERSION.fullmatch(folder) for folder in folders):
        raise InvalidModelError(
            "the model has no version: put its files in a folder whose name is a number, such as 1,"
            f" beside {CONFIG}"
        )
    return Layout(name=name, folders=tuple(sorted(folders)), files=files)


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "...")
