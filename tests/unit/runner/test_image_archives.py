"""Archives that Podman cannot read as they are."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from claraedge.blocking import CancelFlag, CancelledWorkError
from claraedge.runner.images.image_archives import unpacked, why


def test_unpacking_a_large_archive_ends_with_its_caller(tmp_path: Path) -> None:
    archive, scratch = tmp_path / "app.tar.gz", tmp_path / "app.tar"
    archive.write_bytes(gzip.compress(bytes(8 << 20)))
    flag = CancelFlag()
    flag.set()
    with pytest.raises(CancelledWorkError):
        unpacked(flag, archive, scratch)
    assert scratch.stat().st_size < 8 << 20


@pytest.mark.parametrize("page", [b"\n<!DOCTYPE html>", b'<?xml version="1.0"?><Error>'])
def test_a_web_page_is_reported_as_one(tmp_path: Path, page: bytes) -> None:
    archive = tmp_path / "app.tar"
    archive.write_bytes(page)
    assert "web page" in why(archive, "")
