"""A link is followed only where nobody but root and this user could have put it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claraedge.fs.trusted import ForeignLinkError, open_folder, opened
from claraedge.fs.walking import walk


def place(folder: Path, path: bytes = b"") -> Path:
    descriptor = open_folder(folder, path)
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    finally:
        os.close(descriptor)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "state" / "inner").mkdir(parents=True)
    (tmp_path / "inbox" / "ct").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("mode", "trusted"), [(0o755, True), (0o2750, True), (0o775, False), (0o2775, False)]
)
@pytest.mark.parametrize("to", ["../state", "absolute"])
def test_a_link_is_followed_where_nobody_else_may_write(
    root: Path, mode: int, trusted: bool, to: str
) -> None:
    (root / "inbox" / "link").symlink_to(root / "state" if to == "absolute" else to)
    (root / "inbox").chmod(mode)
    for way in ("link", "link/inner"):
        if trusted:
            assert place(root / "inbox" / way).is_relative_to(root / "state")
        else:
            with pytest.raises(ForeignLinkError, match="another user may have put there"):
                open_folder(root / "inbox" / way)
    with pytest.raises(NotADirectoryError):  # below a folder that is given none is followed
        open_folder(root / "inbox", b"link")


def test_a_link_of_ours_in_a_sticky_folder_is_followed_and_no_other_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "inbox" / "link").symlink_to("../state")
    (root / "inbox").chmod(0o3775)
    assert place(root / "inbox/link") == root / "state"
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(ForeignLinkError):
        open_folder(root / "inbox/link")


def test_circles_files_and_missing_folders_have_different_errors(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "file").write_text("1")
    with pytest.raises(OSError, match="Too many levels"):
        open_folder(root / "a")
    with pytest.raises(NotADirectoryError):
        open_folder(root / "file")
    with pytest.raises(FileNotFoundError):
        open_folder(root / "none" / "more")


def test_what_is_missing_is_made_and_no_link_on_the_way_is_followed(root: Path) -> None:
    os.close(open_folder(root / "inbox", b"a/b/c", make=0o700))
    assert (root / "inbox/a/b/c").is_dir()
    (root / "inbox/a/out").symlink_to(root / "state")
    with pytest.raises(NotADirectoryError):
        open_folder(root / "inbox", b"a/out/made", make=0o700)
    assert [p.name for p in (root / "state").iterdir()] == ["inner"]


def test_an_opened_folder_stays_the_same_whatever_is_put_in_its_place(root: Path) -> None:
    (root / "inbox/ct/file").write_text("1")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with opened(root / "inbox/ct") as folder:
        (root / "inbox/ct").rename(root / "inbox/.x")
        (root / "inbox/ct").symlink_to(root / "state")
        assert [entry.path for entry in walk(folder)] == [b"", b"file"]
        with opened(folder) as again:
            assert os.listdir(again) == ["file"]  # noqa: PTH208
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
