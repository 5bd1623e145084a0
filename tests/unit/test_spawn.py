"""Processes that we start: their environment, their end, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from claraedge import spawn
from tests.rig.waiting import eventually


def test_a_child_of_the_source_tree_gets_our_environment_without_systemds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/ours")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("LISTEN_FDS", "1")
    environment = spawn.child_environment({"EXTRA": "1"})
    assert (environment["LD_LIBRARY_PATH"], environment["EXTRA"]) == ("/ours", "1")
    assert not {"NOTIFY_SOCKET", "LISTEN_FDS"} & environment.keys()


def test_a_child_of_a_frozen_binary_gets_what_the_binary_was_started_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    for name, value in {
        "LD_LIBRARY_PATH": "/tmp/_MEI1",
        "LD_LIBRARY_PATH_ORIG": "/usr/local/lib",
        "LD_PRELOAD": "/lib/jemalloc.so",
        "_PYI_APPLICATION_HOME_DIR": "/tmp/_MEI1",
    }.items():
        monkeypatch.setenv(name, value)
    environment = spawn.child_environment()
    assert environment["LD_LIBRARY_PATH"] == "/usr/local/lib"
    assert environment["LD_PRELOAD"] == "/lib/jemalloc.so"
    assert not [name for name in environment if name.startswith("_PYI_") or "_ORIG" in name]
    monkeypatch.delenv("LD_LIBRARY_PATH_ORIG")
    assert "LD_LIBRARY_PATH" not in spawn.child_environment()


async def test_run_answers_code_and_all_output() -> None:
    command = ["sh", "-c", "echo out; echo err >&2; printf '\\377'; exit 3"]
    assert await spawn.run(command, timeout=20) == (3, "out\nerr\n\ufffd")


async def test_a_process_that_is_too_slow_has_ended_when_that_is_raised(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        await spawn.run(["sh", "-c", f"echo $$ > {pid}; exec sleep 60"], timeout=0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_the_process_of_a_cancelled_caller_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    call = asyncio.ensure_future(
        spawn.run(["sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 60"], timeout=60)
    )
    await eventually(pid.exists, "it has started")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_the_error_for_a_missing_program_names_it() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        await spawn.run(["no-such-program"], timeout=5)
    assert spawn.executable("no-such-program") is None
    assert spawn.executable("sh") is not None
