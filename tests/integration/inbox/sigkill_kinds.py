"""The ways an item may go while the daemon is killed, and what has to be there in the end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pydicom
import pytest

from claraedge.jobs.model import JobStatus
from tests.failpoints import delivery, inbox
from tests.integration.inbox.inbox_child import MORE, Life
from tests.rig.inbox import drop, tree_of

SAMPLE = Path(pydicom.__file__).parent / "data/test_files/CT_small.dcm"
MARKER = "READY"


def file(root: Path) -> None:
    drop(root / "in/scan.dcm", b"content")


def again(root: Path) -> None:
    drop(root / "in/again.dcm", b"content")


def folder(root: Path) -> None:
    drop(root / "in/study/a/1.dcm", b"1")
    drop(root / "in/study/2.dcm", b"2")


def linked(root: Path) -> None:
    file(root)
    (root.parent / "outside").hardlink_to(root / "in/scan.dcm")


def linked_inside(root: Path) -> None:
    folder(root)
    (root.parent / "outside").hardlink_to(root / "in/study/2.dcm")


def faulty(root: Path) -> None:
    folder(root)
    (root / "in/study/link").symlink_to("/etc/passwd")


def members(root: Path) -> None:
    for name in ("a.dcm", "b.dcm", "study/1.dcm", "study/x/2.dcm", "c.dcm"):
        drop(root / "in" / name, name.encode())


def marked(root: Path) -> None:
    members(root)
    drop(root / "in" / MARKER, b"go")


def series(root: Path) -> None:
    content = SAMPLE.read_bytes()
    for number in range(5):
        drop(root / "in" / f"{'se/' * (number % 3)}{number}.dcm", content + bytes(2 * number))


def remedy(failed: Path) -> None:
    """What made `faulty` fail is removed."""
    (link,) = failed.glob("*/*/original/study/link")
    link.unlink()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way."""

    steps: Iterable[str]
    """All names that it passes."""
    make: Callable[[Path], None] | None
    """What is dropped; None: only what was before."""
    before: Callable[[Path], None] | None = None
    """What was dropped before, and came to its end."""
    remedy: Callable[[Path], None] | None = None
    trigger: dict[str, str | float] = field(default_factory=dict)
    elsewhere: bool = False
    """The inbox is on another file system than the state."""
    kept_elsewhere: bool = False
    """Originals and failures are on another file system than the state."""
    faulted: bool = False
    faulted_before: bool = False
    act: str = ""
    failures: int = 0
    links: int = 0
    results: int = 1
    jobs: int = 1
    duplicates: int = 0


RESULT, RESULT_MOVED = delivery.RESULT, delivery.RESULT_ACROSS
QUIET: dict[str, str | float] = {"grouping": "quiet", "quiet_seconds": 0.05}
MARKED: dict[str, str | float] = {"grouping": "marker", "marker": MARKER}
STUDY: dict[str, str | float] = {"grouping": "dicom-study", "quiet_seconds": 0.05}
SKIP: dict[str, str | float] = {"duplicates": "skip"}
LINK: dict[str, str | float] = {"duplicates": "link"}
#: What goes to the folder of failures on another file system.
FAULTY_MOVED = (
    *inbox.FAULTY[: inbox.FAULTY.index("fail: moved")],
    *(name for name in RESULT_MOVED if name.startswith("move:")),
    *inbox.FAULTY[inbox.FAULTY.index("fail: moved") :],
)

KINDS: dict[str, Kind] = {
    "file": Kind(steps=(*inbox.TAKEN, *RESULT), make=file),
    "file, original kept elsewhere": Kind(
        steps=(*inbox.TAKEN, *RESULT_MOVED), make=file, kept_elsewhere=True
    ),
    "folder": Kind(steps=(*inbox.TAKEN, *RESULT), make=folder),
    "copied": Kind(steps=(*inbox.COPIED, *RESULT), make=linked),
    "folder copied": Kind(steps=(*inbox.COPIED, *RESULT), make=linked_inside),
    "file from elsewhere": Kind(steps=(*inbox.COPIED, *RESULT), make=file, elsewhere=True),
    "faulty": Kind(steps=inbox.FAULTY, make=faulty, failures=1, results=0, jobs=0),
    "faulty, kept elsewhere": Kind(
        steps=FAULTY_MOVED, make=faulty, kept_elsewhere=True, failures=1, results=0, jobs=0
    ),
    "faulted job": Kind(
        steps=(*inbox.TAKEN, *delivery.FAILURE), make=file, faulted=True, failures=1, results=0
    ),
    "quiet": Kind(steps=(*inbox.GATHERED, *RESULT), make=members, trigger=QUIET),
    "marker": Kind(steps=(*inbox.GATHERED, *RESULT), make=marked, trigger=MARKED),
    "study": Kind(steps=(*inbox.GATHERED, *RESULT), make=series, trigger=STUDY),
    "quiet from elsewhere": Kind(
        steps=(*inbox.GATHERED_COPIED, *RESULT), make=members, trigger=QUIET, elsewhere=True
    ),
    "marker from elsewhere": Kind(
        steps=(*inbox.GATHERED_COPIED, *RESULT), make=marked, trigger=MARKED, elsewhere=True
    ),
    "study from elsewhere": Kind(
        steps=(*inbox.GATHERED_COPIED, *RESULT), make=series, trigger=STUDY, elsewhere=True
    ),
    "skipped": Kind(steps=inbox.SKIPPED, make=again, before=file, trigger=SKIP, duplicates=1),
    "linked": Kind(
        steps=inbox.LINKED, make=again, before=file, trigger=LINK, duplicates=1, links=1
    ),
    "changed": Kind(steps=(*inbox.RELEASED, *inbox.TAKEN, *RESULT), make=file, act="change"),
    "retried": Kind(
        steps=(*inbox.RETRIED, *inbox.TAKEN, *RESULT),
        make=None,
        before=faulty,
        remedy=remedy,
        act="retry",
        failures=1,
    ),
    "job retried": Kind(
        steps=(*inbox.RETRIED_COPY, *inbox.TAKEN, *RESULT),
        make=None,
        before=file,
        faulted_before=True,
        act="retry",
        failures=1,
        jobs=2,
    ),
    "group retried": Kind(
        steps=(*inbox.RETRIED_COPY, *inbox.GATHERED, *RESULT),
        make=None,
        before=marked,
        faulted_before=True,
        trigger=MARKED,
        act="retry",
        failures=1,
        jobs=2,
    ),
    "removed": Kind(
        steps=(*inbox.TAKEN, *RESULT, *delivery.REMOVAL), make=file, act="remove", results=0
    ),
    "discarded": Kind(
        steps=(*inbox.FAULTY, *delivery.DISCARD), make=faulty, act="discard", results=0, jobs=0
    ),
    "discarded job": Kind(
        steps=(*inbox.TAKEN, *delivery.FAILURE, *delivery.DISCARD),
        make=file,
        faulted=True,
        act="discard",
        results=0,
    ),
}


class Site:
    """The folders of one item, and what they are to contain in the end."""

    def __init__(self, kind: Kind, base: Path, other: Path) -> None:
        self.kind = kind
        self.state = base / "state"
        self.inbox = (other if kind.elsewhere else self.state) / "inbox"
        kept_in = other / "kept" if kind.kept_elsewhere else self.state
        self.originals, self.failed = kept_in / "originals", kept_in / "failed"
        self._kept_in = str(kept_in) if kind.kept_elsewhere else ""
        self._names = base / "passed"
        self.wanted: Counter[bytes] = Counter()
        self.inputs: Counter[str] = Counter()

    @property
    def ended(self) -> int:
        """Items that are to come to their end."""
        return (
            self.kind.failures
            + self.kind.duplicates
            + (self.kind.act in ("remove", "discard"))
            + (self.kind.results)
        )

    def life(self, at: str = "", nth: int = 1) -> Life:
        kind = self.kind
        return self._life(self.ended, kind.faulted, kind.act, at, nth)

    def first(self) -> Life | None:
        """The life for what was before, where there was something."""
        self.state.mkdir(mode=0o700)
        if self.kind.before is None:
            return None
        self.kind.before(self.inbox)
        return self._life(1, self.kind.faulted_before, "", "", 1)

    def begin(self) -> None:
        """Drops what is dropped, and notes what has to be there in the end."""
        kind = self.kind
        if kind.remedy is not None:
            kind.remedy(self.failed)
        if kind.make is not None:
            kind.make(self.inbox)
        dropped = tree_of(self.inbox / "in")
        self.wanted = Counter(dropped.values()) + self._kept()
        if kind.act == "change":
            self.wanted = Counter([content + MORE for content in self.wanted])
        if kind.act == "discard":
            self.wanted = Counter()
        # Each job's: those of before, and what becomes one now.
        self.inputs = Counter(self._inputs()) if kind.before else Counter()
        if kind.act == "retry":
            kept = [tree_of(path) for path in self.failed.glob("*/*/original")]
            new = [c for tree in kept for n, c in tree.items() if Path(n).name != MARKER]
        elif kind.jobs and not kind.duplicates:
            new = [c for name, c in dropped.items() if name != MARKER]
            new = list(self.wanted) if kind.act == "change" else new
        else:
            new = []
        self.inputs += Counter(hashlib.sha256(content).hexdigest() for content in new)

    def passed(self) -> list[str]:
        """Names, of the life that was last."""
        names = msgspec.json.decode(self._names.read_bytes(), type=list[str])
        self._names.unlink()
        return names

    def _life(self, wanted: int, faulted: bool, act: str, at: str, nth: int) -> Life:
        return Life(
            state=str(self.state),
            inbox=str(self.inbox),
            kept_in=self._kept_in,
            trigger=self.kind.trigger,
            wanted=wanted,
            faulted=faulted,
            act=act,
            at=at,
            nth=nth,
            passed=str(self._names),
        )

    # --- the end --------------------------------------------------------------------------------

    def faults(self) -> Iterator[str]:
        """What is lost, doubled or left over, in words that begin so; nothing, if all is well."""
        yield from _compared("originals", self.wanted, self._kept())
        yield from _compared("inputs", self.inputs, Counter(self._inputs()))
        yield from self._results()
        yield from self._rows()
        yield from self._remains()

    def _kept(self) -> Counter[bytes]:
        folders = [*self.originals.glob("*/*"), *self.failed.glob("*/*/original")]
        return Counter(content for one in folders for content in _contents(one))

    def _inputs(self) -> Iterator[str]:
        query = (
            "SELECT f.sha256 FROM payload_files f JOIN jobs j ON j.payload = f.payload"
            " WHERE f.name LIKE 'input/%'"
        )
        return (str(digest) for (digest,) in self._ask(query))

    def _results(self) -> Iterator[str]:
        found = list((self.state / "outbox").glob("ct/*"))
        folders = [path for path in found if not path.is_symlink()]
        failures = list(self.failed.glob("*/*"))
        yield from _counted("results", self.kind.results, len(folders))
        yield from _counted("links", self.kind.links, len(found) - len(folders))
        yield from _counted("failures", self.kind.failures, len(failures))
        documents = [json.loads((path / "result.json").read_bytes()) for path in folders]
        healthy = [job for job, status in self._jobs() if status == JobStatus.HEALTHY]
        if self.kind.results:
            yield from _compared("delivered jobs", Counter(healthy), _ids(documents))
        for path, document in zip(folders, documents, strict=True):
            given = {one["sha256"] for one in document["inputs"]}
            delivered = {hashlib.sha256(c).hexdigest() for c in _contents(path)}
            if not given or given - delivered:
                yield f"lost: {path} has not what it is made of"
        for path in failures:
            if not (path / "reason.json").is_file():
                yield f"lost: the reason of {path}"
        for path in found:
            if path.is_symlink() and not (path / "result.json").is_file():
                yield f"lost: {path} leads nowhere"

    def _jobs(self) -> list[tuple[str, int]]:
        return [(str(job), int(status)) for job, status in self._ask(_JOBS)]

    def _rows(self) -> Iterator[str]:
        kind = self.kind
        yield from _counted("jobs", kind.jobs, len(self._jobs()))
        items = Counter(str(state) for (state,) in self._ask("SELECT state FROM inbox_items"))
        failed = kind.failures + (kind.act == "discard")
        wanted = Counter(failed=failed, delivered=self.ended - failed)
        yield from _compared("items", +wanted, items)
        doubled = "SELECT job FROM inbox_items WHERE duplicate_of IS NULL AND job IS NOT NULL"
        jobs = Counter(str(job) for (job,) in self._ask(doubled))
        yield from _compared("items of jobs", Counter(job for job, _ in self._jobs()), jobs)
        for query in _NOTHING:
            if rows := self._ask(query):
                yield f"left over: {rows} of {query}"
        if self._ask("PRAGMA integrity_check") != [("ok",)]:
            yield "lost: the database is damaged"

    def _remains(self) -> Iterator[str]:
        # The folders that a study was in stay, empty: they may be of its writer.
        yield from (f"left over: {one}" for one in tree_of(self.inbox / "in"))
        yield from (f"left over: {one}" for one in (self.state / "spool").iterdir())
        for root in (self.inbox, self.state / "outbox", self.failed, self.originals):
            yield from (f"left over: {one}" for one in root.rglob(".*"))
        payloads = {path.name: path for path in (self.state / "payloads").iterdir()}
        query = "SELECT p.id, f.blob FROM payloads p LEFT JOIN payload_files f ON f.payload = p.id"
        rows = self._ask(query)
        yield from _compared("payloads", Counter(set(payloads)), Counter({str(p) for p, _ in rows}))
        for name, path in payloads.items():
            given = {bytes(b) for p, b in rows if p == name and bytes(b).startswith(b"blobs/")}
            there = {b"blobs/" + os.fsencode(one.name) for one in (path / "blobs").iterdir()}
            yield from _compared(f"blobs of {name}", Counter(given), Counter(there))

    def _ask(self, query: str) -> list[tuple]:  # type: ignore[type-arg]
        with closing(sqlite3.connect(self.state / "claraedge.db")) as database:
            return database.execute(query).fetchall()


_JOBS = "SELECT id, status FROM jobs"
_NOTHING = (
    "SELECT name FROM inbox_seen",
    "SELECT job, state FROM deliveries WHERE state != 'done'",
    "SELECT payload FROM payload_files WHERE payload NOT IN (SELECT id FROM payloads)",
    "SELECT id FROM payloads WHERE id NOT IN (SELECT payload FROM jobs)",
    "SELECT payload FROM jobs GROUP BY payload HAVING COUNT(*) > 1",
)


def _contents(root: Path) -> list[bytes]:
    return list(tree_of(root).values())


def _ids(documents: Iterable[dict[str, str]]) -> Counter[str]:
    return Counter(document["job_id"] for document in documents)


def _counted(what: str, wanted: int, found: int) -> Iterator[str]:
    yield from _compared(what, Counter({what: wanted}), Counter({what: found}))


def _compared(what: str, wanted: Counter[str] | Counter[bytes], found: Counter) -> Iterator[str]:  # type: ignore[type-arg]
    if lost := wanted - found:
        yield f"lost: of {what} {dict(lost)}"
    if doubled := found - wanted:
        yield f"doubled: of {what} {dict(doubled)}"


@contextmanager
def site_of(kind: Kind) -> Iterator[Site]:
    """Below two new folders, of which one is on another file system where the kind needs that."""
    base = other = Path(tempfile.mkdtemp(prefix="ce-"))
    try:
        if kind.elsewhere or kind.kept_elsewhere:
            shm = Path("/dev/shm")
            if not shm.is_dir() or shm.stat().st_dev == base.stat().st_dev:
                pytest.skip("one file system only")
            other = Path(tempfile.mkdtemp(prefix="ce-", dir=shm))
        yield Site(kind, base, other)
    finally:
        shutil.rmtree(base)
        shutil.rmtree(other, ignore_errors=True)
