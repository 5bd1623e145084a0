"""Names that a file system refuses: another one is found, the same each time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from claraedge.fs.landing import Landing, located, portable


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scan.dcm", "scan.dcm"),
        ("Müller 山田.dcm", "Müller 山田.dcm"),
        ("a:b?.dcm", "a_b_.dcm"),
        ("end.", "end_"),
        ("end ", "end_"),
        ("..x", "..x"),
        ("CON", "_CON"),
        ("com1.txt", "_com1.txt"),
        ("console.txt", "console.txt"),
        ("M\udcfcller.dcm", "M_ller.dcm"),
        ("a\nb\x1b", "a_b_"),
        ("x" * 255, "x" * 140),
        ("ü" * 120 + ".dcm", "ü" * 68 + ".dcm"),
    ],
)
def test_portable_names(name: str, expected: str) -> None:
    assert portable(name) == expected
    assert portable(expected) == expected
    assert len(os.fsencode(portable(name))) <= 141


def writer(content: str, refused: dict[str, int]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        code = refused.get(path.name)
        if code is not None:
            raise OSError(code, os.strerror(code), str(path))
        with path.open("x") as file:
            file.write(content)

    return write


def test_a_refused_name_gets_another_and_is_found_by_its_own(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    path = landing.put(b"a/b:c.dcm", writer("x", {"b:c.dcm": errno.EINVAL}))
    assert path == tmp_path / "a" / "b_c.dcm"
    assert located(tmp_path, b"a/b:c.dcm") == path
    assert located(tmp_path, b"a/other:c") == tmp_path / "a" / "other:c"


def test_a_name_that_is_there_already_gets_a_number(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    (tmp_path / "a.dcm").write_text("another's")
    assert landing.put(b"a.dcm", writer("x", {})).name == "a~2.dcm"
    assert landing.put(b"a.dcm", writer("x", {})).name == "a~3.dcm"
    assert (tmp_path / "a.dcm").read_text() == "another's"


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOENT, errno.EINVAL])
def test_an_error_for_every_name_is_raised_unchanged(tmp_path: Path, code: int) -> None:
    tried = []

    def refuse(path: Path) -> None:
        tried.append(path.name)
        raise OSError(code, os.strerror(code), str(path))

    with pytest.raises(OSError, match=os.strerror(code)) as raised:
        Landing(tmp_path).put(b"a:b", refuse)
    assert raised.value.filename == str(tmp_path / "a:b")
    assert tried == ["a:b", "a_b"]


def test_a_full_disk_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        Landing(tmp_path).put(b"a:b", writer("x", {"a:b": errno.ENOSPC}))
    refused = {"a:b": errno.EINVAL, "a_b": errno.ENOSPC}
    with pytest.raises(OSError, match="No space"):
        Landing(tmp_path).put(b"a:b", writer("x", refused))
