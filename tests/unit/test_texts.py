"""Text that people write: UTF-8, and what to do where it is not."""

from __future__ import annotations

import pytest

from claraedge import texts


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_utf_8_is_read(mark: bytes) -> None:
    assert texts.decode(mark + "Müller 山田\n".encode()) == "Müller 山田\n"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding: str) -> None:
    with pytest.raises(texts.NotTextError, match="UTF-16") as caught:
        texts.decode("\ufeffname: x".encode(encoding))
    assert "Notepad" in caught.value.remedy
    assert (caught.value.line, caught.value.column) == (1, 1)


def test_another_encoding_is_reported_with_its_place() -> None:
    with pytest.raises(texts.NotTextError, match="byte 7, 0xfc") as caught:
        texts.decode("a: ä\nM".encode() + b"\xfcller")
    assert (caught.value.line, caught.value.column) == (2, 2)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Müller 山田", "Müller 山田"),
        ("M\udcfcller", "M\\xfcller"),
        ("\ud800", "\\ud800"),  # of no file, but of JSON that somebody sent
    ],
)
def test_every_text_can_be_shown(name: str, shown: str) -> None:
    assert texts.shown(name) == shown
