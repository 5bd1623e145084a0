"""The daemon of `memory_daemon.py`, which the work on one thing ends: `poisoned_daemon.py FOLDER`.

POISON in the environment says which work, END how: `exit`, `fault` or `kill`. Each end adds a
letter to `FOLDER/ends`; once `FOLDER/cured` is there nothing ends it any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claraedge.delivery.parcels import Parcels
from claraedge.inbox.inspection.survey import Surveyor
from claraedge.inbox.intake.processor import Processor
from claraedge.models.tree import ModelTree
from claraedge.payloads import payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.registry import folder as pipelines_folder
from tests.robustness import memory_daemon

FOLDER = Path(sys.argv[1])


def end() -> None:
    if (FOLDER / "cured").exists():
        return
    with (FOLDER / "ends").open("a") as file:
        file.write("x")
    if os.environ["END"] == "exit":
        os._exit(1)
    number = signal.SIGSEGV if os.environ["END"] == "fault" else signal.SIGKILL
    signal.pthread_kill(threading.get_ident(), number)  # here: the work goes no step further


def poison(owner: Any, name: str, is_bad: Callable[..., bool]) -> None:
    original = getattr(owner, name)

    def poisoned(*arguments: Any, **named: Any) -> Any:
        if is_bad(*arguments):
            end()
        return original(*arguments, **named)

    setattr(owner, name, poisoned)


def lists_bad(_: PayloadTree, __: str, folder: Path, *___: Any) -> bool:
    """Whether the list that the operator wrote of its input has the bad file."""
    return any("bad.dcm" in path.read_text() for path in folder.rglob("list.json"))


def chosen(leftover: Path) -> bool:
    """The first payload that is removed at all."""
    noted = FOLDER / "chosen"
    if not noted.exists():
        noted.write_text(leftover.name)
    return noted.read_text() == leftover.name


POISONS: dict[str, Callable[[], None]] = {
    "inspection": lambda: poison(Surveyor, "tree", lambda _, root, *__: root.name == "bad.dcm"),
    "claim": lambda: poison(Processor, "_fill", lambda _, __, item, *___: item.name == b"bad.dcm"),
    "job": lambda: poison(PayloadTree, "collect", lists_bad),
    "delivery": lambda: poison(
        Parcels, "put", lambda _, __, due: due.record.item_name == b"bad.dcm"
    ),
    "removal": lambda: poison(payloads, "remove", chosen),
    "image": lambda: poison(
        memory_daemon.Containers, "load_image", lambda _, path: path.name == "bad.tar"
    ),
    "pipeline": lambda: poison(pipelines_folder, "gather", lambda _, name: name == "bad.yaml"),
    "model": lambda: poison(ModelTree, "remove", lambda _, version: version.name == "7"),
}

if __name__ == "__main__":
    POISONS[os.environ["POISON"]]()
    asyncio.run(memory_daemon.run(FOLDER))
