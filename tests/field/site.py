"""A daemon whose inbox programs of others fill, and what it made of what they put there.

The daemon is a process of its own, all of the product but Podman; its one operator lists what it
was given. Each test has a trigger's folder of its own, so that one daemon serves a whole module.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from claraedge.client import appliance
from claraedge.client.connection import Connection
from claraedge.client.values import ItemInfo
from tests.integration.inbox.inbox_site import InboxSite, inbox_site
from tests.rig.waiting import until

SETTLE = 2.0
#: Of DICOM triggers.
QUIET = 3.0
PATIENT = 8.0
DEADLINE = 30.0
#: Folders of each kind: no module has more tests.
_FOLDERS = 40

DEFINITION = """\
api-version: 0.4.0
name: ct
operators:
- name: lister
  container: {image: lister, tag: '1'}
  input: [{path: /in}]
  output: [{path: /out}]
"""

Files = Mapping[str, bytes]
"""Paths with what they hold."""
_FINAL = ("DELIVERED", "FAILED")
_RESTING = (*_FINAL, "IGNORED")


def some_bytes(size: int, seed: str) -> bytes:
    """The same for the same arguments; does not compress."""
    return hashlib.shake_256(seed.encode()).digest(size)


def some_files(seed: str, count: int = 4, size: int = 20_000, suffix: str = ".dcm") -> Files:
    return {f"IM{n}{suffix}": some_bytes(size + n, f"{seed}{n}") for n in range(1, count + 1)}


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _digests(files: Files) -> dict[str, tuple[int, str]]:
    return {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    }  # fmt: skip


@dataclass
class Drop:
    """A trigger's folder."""

    site: InboxSite
    connection: Connection
    folder: Path
    source: Path
    """An empty folder, on the same file system, for what is to be sent."""

    def items(self) -> list[ItemInfo]:
        """The daemon's own answer, in the order first seen."""
        found = appliance.list_items(self.connection)
        return [item for item in found if Path(item.folder) == self.folder]

    def jobs(self) -> list[dict[str, tuple[int, str]]]:
        """What the operator of each job was given: path -> size and digest."""
        return [_given(item) for item in self.items() if item.state == "DELIVERED"]

    def contents(self) -> list[list[bytes]]:
        """What the files hold that the operator of each job was given, by its original."""
        found = []
        for item in self.items():
            if item.state != "DELIVERED":
                continue
            given = {digest for _, digest in _given(item).values()}
            files = [path for path in Path(item.original_path).rglob("*") if path.is_file()]
            kept = {hashlib.sha256(data).hexdigest(): data for data in map(Path.read_bytes, files)}
            found.append([kept[digest] for digest in given])
        return found

    def makes(self, *jobs: Files, waits: Iterable[str] = (), ignoring: Iterable[str] = ()) -> None:
        """Waits until there is exactly one job for each of these, with exactly its files, and
        nothing else is on its way but items that wait, with these texts in their reasons. Items
        with the names in `ignoring` may wait or be left out.
        """
        wanted = sorted(map(_digests, jobs), key=repr)
        reasons = list(waits)

        def holds() -> bool:
            items = self.items()
            on_the_way = [
                item for item in items if item.state not in _RESTING and item.name not in ignoring
            ]
            return (
                len([i for i in items if i.state == "DELIVERED"]) >= len(wanted)
                and len(on_the_way) == len(reasons)
                and all(any(text in item.reason for item in on_the_way) for text in reasons)
            )

        self.until("its files are jobs", holds)
        assert sorted(self.jobs(), key=repr) == wanted, self.report()
        assert [item.name for item in self.items() if item.state == "FAILED"] == []

    def makes_no_more(self) -> None:
        """Waits until nothing is on its way."""
        self.until("all is done", lambda: all(i.state in _RESTING for i in self.items()))

    def waits(self, text: str) -> None:
        """Waits until an item of this folder waits with such a reason."""

        def holds() -> bool:
            return any(text in i.reason for i in self.items() if i.state not in _FINAL)

        self.until(f"something waits with {text!r}", holds)

    def is_left(self, *names: str) -> None:
        """Exactly these lie in the folder, and for each of them there is a word: its name in
        `list inbox` or `status`.
        """
        assert sorted(path.name for path in self.folder.iterdir()) == sorted(names), self.report()

        def without() -> list[str]:
            words = self.words()
            return [name for name in names if name.rstrip(". ") not in words]

        self.until("what is left is reported", lambda: not without(), detail=without)

    def is_explained(self) -> None:
        """Waits until there is a word for every file that lies in the folder."""
        self.until("there is a word", lambda: not self.unexplained(), detail=self.unexplained)

    def unexplained(self) -> list[str]:
        """Files that lie in the folder, though neither they nor a folder of theirs is named."""
        words = self.words()
        left = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return [str(path) for path in left if not any(part in words for part in path.parts)]

    def words(self) -> str:
        """All that `list inbox` and `status` say of what is no job."""
        waiting = [item for item in self.items() if item.state not in _FINAL]
        return "\n".join(
            [
                *(f"{item.name} {item.members}: {item.reason}" for item in waiting),
                *appliance.status(self.connection).warnings,
            ]
        )

    def pause(self) -> None:
        """Halts, as a writer would: longer than a file has to be unchanged."""
        end = time.monotonic() + 1.5 * SETTLE
        self.until("a pause", lambda: time.monotonic() > end)

    def report(self) -> str:
        """For the message of a test that failed."""
        lines = [f"{i.state} {i.name}: {i.reason} {i.members}" for i in self.items()]
        names = [sorted(job) for job in self.jobs()]
        left = sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*"))
        return "\n".join(
            ["items:", *lines, f"jobs: {names}", f"left: {left}", f"words: {self.words()}"]
        )

    def until(
        self,
        what: str,
        holds: Callable[[], object],
        seconds: float = DEADLINE,
        detail: Callable[[], object] = lambda: "",
    ) -> None:
        until(
            what,
            lambda: holds() or self.site.lives(),
            seconds,
            details=lambda: f"{detail()}\n{self.report()}",
        )


def _given(item: ItemInfo) -> dict[str, tuple[int, str]]:
    found = json.loads(Path(item.result_path, "lister/list.json").read_text())
    return {name: (size, digest) for name, (size, digest) in found.items()}


@dataclass
class Drops:
    """The folders of one daemon, each used by one test only."""

    site: InboxSite
    connection: Connection
    used: dict[str, int] = field(default_factory=dict)

    def next(self, kind: str) -> Drop:
        number = self.used[kind] = self.used.get(kind, -1) + 1
        folder = self.site.state / "inbox" / f"{kind}{number}"
        source = self.site.folder / "source" / f"{kind}{number}"
        source.mkdir(parents=True)
        return Drop(self.site, self.connection, folder, source)


@contextmanager
def drops(settle: float = SETTLE, quiet: float = QUIET, more: str = "") -> Iterator[Drops]:
    """A daemon that serves.

    Kinds of folders: `entry`; `study` for DICOM files; `patient` waits long enough for a program
    to be started again, on a busy machine as well.
    """
    kinds = {
        "entry": "",
        "patient": f"settle_seconds = {PATIENT}\n",
        "study": f'grouping = "dicom-study"\nquiet_seconds = {quiet}\n',
    }
    triggers = "".join(
        f'[[inbox.trigger]]\nfolder = "{kind}{number}"\npipeline = "ct"\n{rule}'
        for number in range(_FOLDERS)
        for kind, rule in kinds.items()
    )
    settings = f"[inbox]\nsettle_seconds = {settle}\nrescan_seconds = 2\n{more}\n{triggers}"
    with inbox_site(settings, DEFINITION) as site:
        site.start()
        with Connection(f"unix:{site.folder}/run/claraedge.sock") as connection:
            yield Drops(site, connection)
        assert "Traceback" not in site.log(), site.log()
