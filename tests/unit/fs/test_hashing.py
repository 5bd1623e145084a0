"""Equal content has an equal digest, and holes are not read through."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from claraedge.blocking import CancelFlag, CancelledWorkError
from claraedge.fs.hashing import Digest, digest

BIG = 3 << 30


def sparse(path: Path, size: int, *parts: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for at, content in parts:
            file.seek(at)
            file.write(content)
    if path.stat().st_blocks * 512 >= size:
        pytest.skip("this file system has no holes")
    return path


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_it_is_the_sha256(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    wanted = hashlib.sha256(content).hexdigest()
    assert digest(path) == Digest(sha256=wanted, identity=wanted)


def test_small_holes_are_zeros(tmp_path: Path) -> None:
    path = sparse(tmp_path / "file", 1 << 22, (1 << 21, b"data"))
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest(path) == Digest(sha256=wanted, identity=wanted)


def test_large_holes_are_jumped_over(tmp_path: Path) -> None:
    one = digest(sparse(tmp_path / "one", BIG, (0, b"head"), (BIG - 4, b"tail")))
    same = digest(sparse(tmp_path / "same", BIG, (0, b"head"), (BIG - 4, b"tail")))
    assert one.sha256 is None
    assert one == same
    others = [
        sparse(tmp_path / "a", BIG, (0, b"head"), (BIG - 4, b"tale")),
        sparse(tmp_path / "b", BIG, (0, b"head"), (BIG - 8192, b"tail")),
        sparse(tmp_path / "c", BIG + 1, (0, b"head"), (BIG - 4, b"tail")),
        sparse(tmp_path / "d", BIG),
    ]
    found = [digest(path).identity for path in others]
    assert len({*found, one.identity}) == 5
    assert all(identity.startswith("sparse-") for identity in found)


def test_a_terabyte_of_holes_needs_no_time(tmp_path: Path) -> None:
    try:
        path = sparse(tmp_path / "file", 1 << 40)
    except OSError as error:
        pytest.skip(f"no file of this size here: {error}")
    assert digest(path).sha256 is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match=r"symbolic links|Symbolic link"):
        digest(tmp_path / "link")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="regular"):
        digest(tmp_path / "pipe")


def test_it_can_be_ended(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    flag = CancelFlag()
    flag.set()
    with pytest.raises(CancelledWorkError):
        digest(tmp_path / "file", flag)
