"""The disk of the campaigns keeps exactly what its model defines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.powercut.volatile_disk import VolatileDisk, sync


def _cut(disk: VolatileDisk, model: str, seed: int = 1) -> Path:
    """Cuts the power now; returns the root of the disk afterwards."""
    disk.copy_after(disk.operations + 1)
    (disk.mount / "last").touch()
    disk.unmount()
    disk.cut(disk.copies()[-1], model, seed)
    return disk.mount


def _found(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("last")
    }


def _arrange(disk: VolatileDisk) -> None:
    root = disk.mount
    (root / "known").mkdir()
    for name in ("both", "bytes", "name", "nothing"):
        (root / name).write_bytes(name.encode())
    (root / "known/inside").write_bytes(b"inside")
    sync([root / "both", root / "bytes", root / "known/inside", root / "known"])


def _arrange_synced(disk: VolatileDisk) -> None:
    sync([disk.mount])
    _arrange(disk)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("strict", set()),
        ("closed", {"known/inside"}),
        ("names", {"both", "bytes", "name", "nothing", "known/inside"}),
        ("journal", {"both", "bytes", "name", "nothing", "known/inside"}),
    ],
)
def test_names_whose_folder_is_not_synced(disk: VolatileDisk, model: str, names: set[str]) -> None:
    _arrange_synced(disk)
    found = _found(_cut(disk, model))
    assert set(found) == names
    assert {name for name, content in found.items() if content} == names - {"name", "nothing"}


def test_what_is_synced_is_there_by_every_model(disk: VolatileDisk) -> None:
    _arrange(disk)
    sync([disk.mount])
    (disk.mount / "both").write_bytes(b"later")
    for model in ("strict", "closed", "random"):
        found = _found(_cut(disk, model))
        assert found["bytes"] == b"bytes"
        assert found["known/inside"] == b"inside"
        sync([disk.mount])


def test_a_rename_is_old_or_new(disk: VolatileDisk) -> None:
    root = disk.mount
    for name in ("from", "to"):
        (root / name).mkdir()
    (root / "from/a").write_bytes(b"a")
    sync([root / "from/a", root / "from", root / "to", root])
    (root / "from/a").rename(root / "to/a")
    seen = set()
    for seed in range(12):
        disk.copy_after(disk.operations + 1)
        (root / f"last-{seed}").touch()
        copy = disk.copies()[-1]
        disk.unmount()
        disk.cut(copy, "random", seed)
        found = _found(root)
        assert list(found.values()) == [b"a"]
        seen.update(found)
        if "to/a" in found:
            (root / "to/a").rename(root / "from/a")
        sync([root / "from", root / "to"])
        (root / "from/a").rename(root / "to/a")
    assert seen == {"from/a", "to/a"}


def test_bytes_and_mode_stay_as_they_were_synced(disk: VolatileDisk) -> None:
    path = disk.mount / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    sync([path, disk.mount])
    path.write_bytes(b"new and longer")
    path.chmod(0o644)
    root = _cut(disk, "strict")
    assert (root / "file").read_bytes() == b"old"
    assert (root / "file").stat().st_mode & 0o777 == 0o600


def test_what_is_cut_off_does_not_come_back(disk: VolatileDisk) -> None:
    path = disk.mount / "file"
    path.write_bytes(b"x" * 10_000)
    sync([path, disk.mount])
    os.truncate(path, 5000)
    os.truncate(path, 9000)
    sync([path])
    assert (_cut(disk, "strict") / "file").read_bytes() == b"x" * 5000 + bytes(4000)


def test_a_file_of_another_user(disk: VolatileDisk) -> None:
    path = disk.mount / "file"
    path.touch()
    disk.own(path, 65534)
    assert path.stat().st_uid == 65534 != os.geteuid()
