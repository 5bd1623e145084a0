"""What was in work when the process ended, and what comes of it at the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claraedge.errors import NotSetAsideError, SetAsideError
from claraedge.store.database import Database
from claraedge.suspects import Books, End, Suspects, Work, judged

ROOT = Path(__file__).parents[2]
A, B, C = ("inbox", "a"), ("delivery", "b"), ("image", "c")

#: A process that works on some things, and ends in the midst of it.
LIFE = """
import asyncio, contextlib, os, signal, sys
from pathlib import Path
from claraedge.store.database import Database
from claraedge.suspects import Suspects, Work
async def main(folder, boot, how, *names):
    async with Database(folder / "claraedge.db") as database:
        suspects = Suspects(folder / "at-work", boot)
        await suspects.prepare(database)
        running = asyncio.create_task(suspects.run())
        await asyncio.sleep(0)
        with suspects.on(Work.IMAGE, "done before"):
            pass
        with contextlib.ExitStack() as works:
            for name in names:
                works.enter_context(suspects.on(Work.INBOX, name))
            if how == "stop":  # KILL follows, as where a stop is too slow
                running.cancel()
                await asyncio.wait([running])
            if how == "exit":
                os._exit(1)
            os.kill(os.getpid(), signal.SIGSEGV if how == "fault" else signal.SIGKILL)
asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""


def end(*works: tuple[str, str], life: str = "2", boot: str = "boot", stopped: bool = False) -> End:
    return End(life=life, boot=boot, stopped=stopped, works=frozenset(works))


def books(suspects: set[tuple[str, str]], aside: set[tuple[str, str]], judged: str = "1") -> Books:
    return Books(suspects=frozenset(suspects), aside=frozenset(aside), judged=judged)


@pytest.mark.parametrize(
    ("last", "suspects", "aside"),
    [
        pytest.param(None, set(), {C}, id="no file"),
        pytest.param(end(A, stopped=True), set(), {C}, id="a stop"),
        pytest.param(end(A, boot="before"), set(), {C}, id="an end of the machine"),
        pytest.param(end(A, B), {B}, {A, C}, id="twice, with another one"),
        pytest.param(end(B), {B}, {C}, id="another one"),
        pytest.param(end(), set(), {C}, id="nothing in work"),
        pytest.param(end(A, life="1"), {A}, {C}, id="judged before"),
    ],
)
def test_only_what_was_in_work_at_two_crashes_in_a_row_is_set_aside(
    last: End | None, suspects: set[tuple[str, str]], aside: set[tuple[str, str]]
) -> None:
    found = judged(books({A}, {C}), last, "boot")
    assert (found.suspects, found.aside) == (suspects, aside)


def live(folder: Path, how: str, *names: str, boot: str = "boot") -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIFE, str(folder), boot, how, *names]
    ended = subprocess.run(command, env=environment, timeout=60, stderr=subprocess.PIPE)
    wanted = {"exit": 1, "fault": -signal.SIGSEGV}.get(how, -signal.SIGKILL)
    assert ended.returncode == wanted, ended.stderr.decode()


async def aside(folder: Path) -> list[str]:
    """The warnings of the next start."""
    async with Database(folder / "claraedge.db") as database:
        suspects = Suspects(folder / "at-work", "boot")
        await suspects.prepare(database)
        suspects.close()
        return list(suspects.warnings())


@pytest.mark.parametrize("how", ["exit", "fault", "kill"])
async def test_what_was_in_work_at_both_ends_of_real_processes_is_set_aside(
    tmp_path: Path, how: str
) -> None:
    live(tmp_path, how, "good", "bad")
    live(tmp_path, how, "bad", "other")
    (warning,) = await aside(tmp_path)
    assert "bad" in warning
    assert "claraedge retry inbox bad" in warning


async def test_a_stop_or_a_reboot_between_two_ends_excuses_everything(tmp_path: Path) -> None:
    live(tmp_path, "kill", "bad")
    live(tmp_path, "stop", "bad")
    live(tmp_path, "kill", "bad")
    live(tmp_path, "kill", "bad", boot="another")
    assert await aside(tmp_path) == []


async def test_what_is_set_aside_is_not_worked_on_until_it_is_tried_again(tmp_path: Path) -> None:
    name = "x" * 2000 + "\n"  # longer than a place
    async with Database(tmp_path / "claraedge.db") as database:
        kept = []  # a context that nothing refers to is left
        for _ in range(2):
            suspects = Suspects(tmp_path / "at-work", "boot")
            await suspects.prepare(database)
            kept.append(suspects.on(Work.IMAGE, name))
            kept[-1].__enter__()
        suspects = Suspects(tmp_path / "at-work", "boot")
        await suspects.prepare(database)
        with (
            pytest.raises(SetAsideError, match="claraedge retry image"),
            suspects.on(Work.IMAGE, name),
        ):
            pytest.fail("it is worked on")
        (warning,) = suspects.warnings()
        shown = warning.rpartition("claraedge retry image ")[2].rstrip("`")
        with pytest.raises(NotSetAsideError):
            await suspects.try_again(Work.MODEL, shown)
        await suspects.try_again(Work.IMAGE, shown)
        with suspects.on(Work.IMAGE, name):
            pass
        suspects.close()
    assert await aside(tmp_path) == []


async def test_more_work_than_there_are_places_continues(tmp_path: Path) -> None:
    async with Database(tmp_path / "claraedge.db") as database:
        suspects = Suspects(tmp_path / "at-work", "boot")
        await suspects.prepare(database)
        works = [suspects.on(Work.INBOX, str(number)) for number in range(1000)]
        for work in works:
            work.__enter__()
        for work in works:
            work.__exit__(None, None, None)
        suspects.close()
    assert await aside(tmp_path) == []


async def test_a_file_that_holds_anything_says_nothing(tmp_path: Path) -> None:
    for content in (b"", b"{}", b"\xff" * 5000):
        (tmp_path / "at-work").write_bytes(content)
        assert await aside(tmp_path) == []
