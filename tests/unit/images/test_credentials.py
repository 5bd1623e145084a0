"""What pull secrets stand for, and which password files are refused."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from claraedge.config import CredentialSettings, ImagesSettings
from claraedge.errors import ConfigurationError, ImagePullError
from claraedge.images.credentials import matching, read_password
from claraedge.images.images import Images
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Login


def password(path: Path, content: bytes = b"secret\n", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def credential(file: Path, registry: str = "a.example") -> CredentialSettings:
    return CredentialSettings(registry=registry, username="u", password_file=file)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_password_is_the_text_of_its_file_without_the_last_newline(
    tmp_path: Path, mode: int
) -> None:
    assert read_password(password(tmp_path / "p", b" se\ncret \n", mode)) == " se\ncret "


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o660, 0o601])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    file = password(tmp_path / "p", mode=mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}.*chmod 600 {file}"):
        read_password(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"\n", "empty"), (b"\xff", "no text"), (b"x" * 70_000, "too large")],
)
def test_what_is_no_password_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_password(password(tmp_path / "p", content))


def test_a_folder_or_a_pipe_is_no_password(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder"):
        with pytest.raises((ValueError, OSError)):
            read_password(tmp_path / name)


def test_only_what_the_pipeline_names_for_the_registry_is_used(tmp_path: Path) -> None:
    file = tmp_path / "p"
    known = {
        "NGC": credential(file),
        "other": credential(file, "b.example"),
        "more": credential(file),
        "unnamed": credential(file),
    }
    named = matching(known, ("more", "absent", "other", "ngc", "NGC"), "a.example")
    assert [n.name for n in named] == ["more", "NGC"]
    assert matching(known, (), "a.example") == ()


def test_a_login_never_shows_its_password(tmp_path: Path) -> None:
    (named,) = matching({"n": credential(password(tmp_path / "p"))}, ("n",), "a.example")
    assert named.login() == Login(username="u", password="secret")
    assert "secret" not in repr(named.login())


def test_a_missing_file_is_reported_with_its_secret_and_its_path(tmp_path: Path) -> None:
    (named,) = matching({"ngc": credential(tmp_path / "p")}, ("ngc",), "a.example")
    with pytest.raises(ImagePullError, match=f"pull secret ngc .* {tmp_path}/p: No such file"):
        named.login()


async def test_a_daemon_refuses_open_password_files_and_warns_of_missing_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_ = {
        name: credential(password(tmp_path / name, mode=0o644)) for name in ("first", "second")
    }
    settings = ImagesSettings(pull="missing", credentials=open_)
    with pytest.raises(ConfigurationError) as caught:
        await Images(MemoryRunner(), settings).prepare()
    assert [m.split(":")[0] for m in caught.value.messages] == [
        "images.credentials.first.password_file",
        "images.credentials.second.password_file",
    ]
    settings = ImagesSettings(pull="missing", credentials={"later": credential(tmp_path / "later")})
    with caplog.at_level(logging.WARNING):
        await Images(MemoryRunner(), settings).prepare()
    (record,) = caplog.records
    assert "images.credentials.later.password_file" in record.__dict__["reason"]
