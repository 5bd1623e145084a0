"""`claraedge token` prints and replaces the token, without a daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from claraedge.access import token as tokens
from claraedge.cli import token as command


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of the user's own daemon, and no other daemon on this machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    system = {
        "CONFIGURATION_DIRECTORY": str(tmp_path / "etc"),
        "STATE_DIRECTORY": str(tmp_path / "system"),
    }
    monkeypatch.setattr(command, "_SYSTEM", system)
    folder = tmp_path / "home" / "claraedge"
    folder.mkdir(parents=True)
    return folder


def test_it_is_made_once_and_printed(claraedge: Callable, state: Path) -> None:
    answer = claraedge("token")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == tokens.path_in(state).read_text()
    assert claraedge("token").out == answer.out


def test_a_new_one_replaces_it(claraedge: Callable, state: Path) -> None:
    old = claraedge("token").out
    new = claraedge("token", "--new").out
    assert new != old
    assert claraedge("token").out == new == tokens.path_in(state).read_text()


def test_a_damaged_one_is_replaced(claraedge: Callable, state: Path) -> None:
    tokens.path_in(state).write_text("")
    assert len(claraedge("token").out.strip()) == 43


def test_the_state_folder_is_found(claraedge: Callable, state: Path, tmp_path: Path) -> None:
    other, system = tmp_path / "other", tmp_path / "system"
    texts = {}
    for folder in (other, system):
        folder.mkdir()
        texts[folder] = f"{tokens.renew(tokens.path_in(folder))}\n"
    assert claraedge("token", "--state-dir", other).out == texts[other]
    config = tmp_path / "other.toml"
    config.write_text(f'state_dir = "{other}"\n')
    assert claraedge("token", "--config", config).out == texts[other]
    state.rmdir()
    assert claraedge("token").out == texts[system], "there is no daemon of this user"


def test_without_a_state_folder_it_says_what_to_do(claraedge: Callable, tmp_path: Path) -> None:
    answer = claraedge("token", "--state-dir", tmp_path / "missing")
    assert (answer.code, answer.out) == (73, "")
    assert "--state-dir" in answer.err


def test_the_token_of_another_user_is_not_replaced(
    claraedge: Callable, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = claraedge("token").out
    monkeypatch.setattr(command.os, "geteuid", lambda: 4321)
    assert claraedge("token", "--state-dir", state).out == old, "the group may read it"
    answer = claraedge("token", "--new", "--state-dir", state)
    assert answer.code == 73
    assert f"sudo -u claraedge claraedge token --new --state-dir {state}" in answer.err
    assert tokens.path_in(state).read_text() == old


def test_a_token_that_may_not_be_read_says_who_may(
    claraedge: Callable, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(tokens, "read", refused)
    answer = claraedge("token")
    assert answer.code == 73
    assert "usermod" in answer.err
