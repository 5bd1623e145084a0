"""How a folder of results, or of a failure, comes to be: whole, by one rename, and only once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from claraedge import files
from claraedge.delivery.slug import whole_id
from claraedge.errors import StateFolderError


def process_umask() -> int:
    """The umask, read without changing it for the other threads."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077


def shown_mode(mode: int, umask: int) -> int:
    """The mode of a delivered file: readable, and executable where it was, as the umask allows."""
    return (0o666 | mode & 0o111) & ~umask


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """A JSON document for people and programs: indented, UTF-8."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    files.replace(
        path, text.encode("utf-8", "backslashreplace"), shown_mode(0o644, process_umask())
    )


def publish(
    root: Path,
    folder: str,
    owner: str,
    *,
    marker: str,
    key: str,
    build: Callable[[Path], None],
    failpoint: Callable[[str], None],
) -> Path:
    """The folder `root/folder`, made by `build` if it is not there yet. Returns where it is.

    `build` fills an empty folder, with a JSON file `marker` in it whose `key` is `owner`: by that
    one it is known again after a crash. A folder of that name that is another's is left alone; all
    digits of the id make the name this one's then.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is gone; mount it again, or make it: mkdir -p '{root}'")
    found = published(root, folder, owner, marker=marker, key=key)
    if found is not None:
        files.sync_folder(found.parent)
        return found
    for name in (folder, whole_id(folder, owner)):
        target = root / name
        if os.path.lexists(target):
            continue
        _make_shown(target.parent)
        building = root / f".tmp-{owner}"
        files.remove_tree(building)
        building.mkdir(0o777)
        failpoint("publish: building")
        build(building)
        files.sync_tree(building)
        failpoint("publish: built")
        building.rename(target)
        failpoint("publish: renamed")
        files.sync_folder(target.parent)
        return target
    raise StateFolderError(
        f"{root / folder} and the same with all digits of {owner} are there and hold no {marker} of"
        " it; move them away"
    )


def published(root: Path, folder: str, owner: str, *, marker: str, key: str) -> Path | None:
    """The folder that `publish` made for this owner, where it did."""
    for name in (folder, whole_id(folder, owner)):
        if _is_owners(root / name / marker, key, owner):
            return root / name
    return None


def _make_shown(folder: Path) -> None:
    if not folder.is_dir():
        _make_shown(folder.parent)
        folder.mkdir(0o777)
        files.sync_folder(folder.parent)


def _is_owners(marker: Path, key: str, owner: str) -> bool:
    try:
        document = msgspec.json.decode(marker.read_bytes(), type=dict[str, object])
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return False
    return document.get(key) == owner
