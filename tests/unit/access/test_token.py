"""The token and its file."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from claraedge.access import token as tokens
from claraedge.access.token import Token, bearer
from claraedge.errors import UnauthenticatedError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tokens.path_in(tmp_path)


def accepts(token: Token, shown: str | None) -> bool:
    try:
        token.check(shown, "10.0.0.1")
    except UnauthenticatedError:
        return False
    return True


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_it_is_made_at_first_use_for_the_group(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        token = Token(path)
    finally:
        os.umask(before)
    text = path.read_text().strip()
    assert len(text) == 43, "256 bits"
    assert path.stat().st_mode & 0o777 == 0o640
    assert accepts(token, text)
    assert accepts(Token(path), text), "a restart keeps it"


def test_a_new_one_replaces_it_at_once(path: Path) -> None:
    token = Token(path)
    old, digest = path.read_text().strip(), token.digest
    new = tokens.renew(path)
    assert not accepts(token, old)
    assert accepts(token, new)
    assert token.digest != digest


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"\0" * 44, b"\xff" * 60])
def test_a_damaged_file_lets_nobody_in_and_is_made_again_at_a_start(
    path: Path, content: bytes
) -> None:
    token = Token(path)
    old = path.read_text().strip()
    path.write_bytes(content)
    for shown in (None, "", content.decode("latin-1"), content.decode("latin-1").strip(), old):
        assert not accepts(token, shown)
    Token(path)
    new = path.read_text().strip()
    assert new != old
    assert accepts(token, new)


def test_without_a_file_nobody_is_let_in(path: Path) -> None:
    token = Token(path)
    old = path.read_text().strip()
    path.unlink()
    assert not accepts(token, old)
    assert token.digest is None
    assert accepts(token, tokens.renew(path))


def test_a_file_that_cannot_be_made_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = Token(tmp_path / "missing" / "token")
    assert "claraedge token" in caplog.text
    assert not accepts(token, "x" * 43)


def test_refused_calls_are_logged_once_a_minute(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now)
    token = Token(path)
    caplog.set_level(logging.WARNING)
    for _ in range(50):
        assert not accepts(token, "wrong")
        now += 1.0
    assert len(caplog.records) == 1
    now += 11.0
    assert not accepts(token, "wrong")
    assert [record.count for record in caplog.records] == [1, 50]  # type: ignore[attr-defined]
    assert path.read_text().strip() not in caplog.text


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("abc", None),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
    ],
)
def test_the_header_has_a_bearer_token(value: str | None, token: str | None) -> None:
    assert bearer(value) == token
