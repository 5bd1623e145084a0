"""Compares the state at the end of a life with what was promised. Each fault has a class:

lost      promised, but missing                    doubled  present twice, or present after removal
half      present, but incomplete or different     mode     present, but unreadable for containers
corrupt   the database is damaged                  left     neither used nor removed
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from claraedge.daemon.backups.restore import restore
from claraedge.errors import BackupError
from tests.powercut.promises import Item, Key, Promises, Value, digest
from tests.powercut.site import Site

Row = Mapping[str, Any]


class Fault(NamedTuple):
    kind: str
    what: str


class Result(NamedTuple):
    folder: Path
    report: Mapping[str, Any]
    """The content of its result.json."""


def contents(root: Path) -> dict[str, str]:
    """Returns the digests of all files below a folder, by their paths."""
    return {
        str(path.relative_to(root)): digest(path.read_bytes())
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


class Audit:
    """Audits one state, whose daemon has ended."""

    def __init__(self, site: Site, promises: Promises, moment: float) -> None:
        """`moment` is the time of the power cut, in seconds of `time.monotonic`."""
        self._state, self._site = site.state, site
        self._promises, self._moment = promises, moment
        self._jobs: dict[str, Row] = {r["id"]: r for r in site.rows("SELECT * FROM jobs")}
        alive = site.rows("SELECT id FROM payloads WHERE deleted IS NULL")
        self._payloads = {str(row["id"]) for row in alive}
        self._files: dict[str, dict[str, str]] = defaultdict(dict)
        self._results: dict[str, list[Result]] = defaultdict(list)

    def faults(self) -> Iterator[Fault]:
        """Yields all faults."""
        yield from self._of_database()
        yield from self._of_payloads()
        yield from self._of_results()
        yield from self._of_failures()
        yield from self._of_items()
        yield from self._of_answers()
        yield from self._of_leftovers()

    # --- the database compared with the disk --------------------------------------------------

    def _of_database(self) -> Iterator[Fault]:
        for check, sound in (
            ("integrity_check", [{"integrity_check": "ok"}]),
            ("foreign_key_check", []),
        ):
            if (found := self._site.rows(f"PRAGMA {check}")) != sound:
                yield Fault("corrupt", f"{check}: {found[:3]}")

    def _of_payloads(self) -> Iterator[Fault]:
        for row in self._site.rows("SELECT * FROM payload_files"):
            if row["payload"] not in self._payloads:
                continue
            name, blob = f"{row['name']} of a payload", os.fsdecode(bytes(row["blob"]))
            path = self._state / "payloads" / row["payload"] / blob
            try:
                data = path.read_bytes()
            except OSError as error:
                yield Fault("lost", f"{name}: {error.strerror} ({blob})")
                continue
            self._files[row["payload"]][row["name"]] = digest(data)
            if len(data) != row["size"] or row["sha256"] not in (None, digest(data)):
                yield Fault("half", f"{name}: {len(data)} of {row['size']} bytes, or others")
            if (mode := path.stat().st_mode) & 0o444 != 0o444:
                yield Fault("mode", f"{name} ({blob[:9]}) has mode {mode & 0o777:o}")
        for payload in self._payloads:
            if not (self._state / "payloads" / payload).is_dir():
                yield Fault("lost", f"the folder of payload {payload}")

    def _of_results(self) -> Iterator[Fault]:
        for folder in (self._state / "outbox").glob("[!.]*/[!.]*"):
            try:
                report = json.loads((folder / "result.json").read_bytes())
            except (OSError, ValueError) as error:
                yield Fault("half", f"result.json of {folder.name}: {error}")
                continue
            if folder.is_symlink():
                continue
            self._results[report["job_id"]].append(Result(folder, report))
            yield from _of_result(folder, report)
        for job, found in self._results.items():
            if len(found) > 1 or job not in self._jobs:
                yield Fault("doubled", f"{len(found)} results of job {job}, {job in self._jobs}")
        for row in self._site.rows("SELECT job FROM deliveries"):
            job = self._jobs[row["job"]]
            if (job["state"], job["status"]) == (3, 1) and job["id"] not in self._results:
                yield Fault("lost", f"the result of job {job['name']}")

    def _of_failures(self) -> Iterator[Fault]:
        for folder in (self._state / "failed").glob("[!.]*/[!.]*"):
            try:
                json.loads((folder / "reason.json").read_bytes())
            except (OSError, ValueError) as error:
                yield Fault("half", f"reason.json of {folder.name}: {error}")

    # --- dropped items ------------------------------------------------------------------------

    def _of_items(self) -> Iterator[Fault]:
        places = {name: Counter(contents(self._state / name).values())
                  for name in ("originals", "failed", "inbox", "spool")}  # fmt: skip
        equal: dict[tuple[str, ...], list[Item]] = defaultdict(list)
        for item in self._promises.items:
            equal[item.inputs].append(item)
        for items in equal.values():
            yield from self._of_originals(items, places)
            yield from self._of_jobs(items)

    def _promised(self, items: Sequence[Item]) -> int:
        return sum(item.moment <= self._moment for item in items)

    def _of_originals(
        self, items: Sequence[Item], places: Mapping[str, Mapping[str, int]]
    ) -> Iterator[Fault]:
        kind, least, most = items[0].kind, self._promised(items), len(items)
        for one in [*items[0].inputs, *items[0].others]:
            kept = places["failed"][one] + (0 if kind == "faulty" else places["originals"][one])
            waiting = places["inbox"][one] + places["spool"][one]
            where = f"the original of a {kind} item: {kept} kept, {waiting} waiting"
            if kept + waiting < least and kind != "unkept":
                yield Fault("lost", where)
            elif waiting and least:
                yield Fault("left", where)
            if kept + waiting > (0 if kind == "unkept" and least else most):
                yield Fault("doubled", where)

    def _of_jobs(self, items: Sequence[Item]) -> Iterator[Fault]:
        kind, contents_of, least = items[0].kind, items[0].inputs, self._promised(items)
        inputs = {job: self._inputs(row) for job, row in self._jobs.items()}
        some = [job for job, given in inputs.items() if set(given) & set(contents_of)]
        whole = [job for job in some if sorted(inputs[job]) == list(contents_of)]
        healthy = [job for job in some if self._jobs[job]["status"] == 1]
        if kind == "faulty":
            if some:
                yield Fault("doubled", "a job of an item that cannot be one")
            return
        if least and not any(job in healthy and self._results[job] for job in whole):
            yield Fault("lost", f"a {kind} item has {len(some)} jobs, {len(whole)} of all its"
                        " files, no healthy one with a result")  # fmt: skip
        if least and (len(healthy) > 1 or len(some) > (2 if kind == "retried" else 1)):
            yield Fault("doubled", f"a {kind} item has {len(some)} jobs")
        links = [p for p in (self._state / "outbox").glob("*/*") if p.is_symlink()]
        if kind == "linked" and least == 2 and len(links) != 1:
            yield Fault("lost", f"{len(links)} links to the first result")

    def _inputs(self, job: Row) -> list[str]:
        files = self._files[job["payload"]]
        return [found for name, found in files.items() if name.startswith("input/")]

    # --- answered calls -----------------------------------------------------------------------

    def _of_answers(self) -> Iterator[Fault]:
        for key, allowed in self._promises.allowed(self._moment):
            found = self._value(key, allowed)
            if found in allowed:
                continue
            kind = "lost" if found is None else "doubled" if allowed == [None] else "half"
            yield Fault(kind, f"{' '.join(key)} is {found}, and may be {allowed}")

    def _value(self, key: Key, allowed: Sequence[Value]) -> Value:
        kind, name = key[0], key[1]
        if kind == "job":
            return name in self._jobs or None
        if kind == "payload":
            known = name in self._payloads
            return known or (self._state / "payloads" / name).exists() or None
        if kind == "file":
            return self._files[name].get(key[2])
        if kind == "metadata":
            rows = self._site.rows(
                "SELECT value FROM metadata WHERE owner = ? AND key = ?", name, key[2]
            )
            return str(rows[0]["value"]) if rows else None
        if kind == "cancelled":
            job = self._jobs[name]
            return (job["state"], job["status"]) == (3, 3) or None
        if kind == "result":
            return self._result(name, allowed)
        if kind == "model":
            return self._model(name)
        if kind == "copy of the database":
            return self._copy_of_the_database(name)
        if kind == "backup":
            return self._backup(name)
        column = "id" if kind == "pipeline" else "name"
        return self._definition(column, name)

    def _result(self, job: str, allowed: Sequence[Value]) -> Value:
        found, row = self._results[job], self._jobs.get(job)
        if row is None or (row["state"], row["status"]) != (3, 1) or len(found) != 1:
            return None
        if True in allowed:  # the inputs of the job are not known
            return True
        return tuple(sorted({file["sha256"] for file in found[0].report["files"]}))

    def _model(self, name: str) -> Value:
        rows = self._site.rows("SELECT * FROM models WHERE name = ?", name)
        if not rows:
            return None
        version = self._state / "models" / rows[0]["id"] / str(rows[0]["generation"])
        return contents(version / name) or None

    def _backup(self, name: str) -> Value:
        """Returns whether a state can be restored from a backup, which compares its digests."""
        file = self._state.parent / name
        if not file.exists():
            return None
        with tempfile.TemporaryDirectory() as folder:
            try:
                restore(None, {"state_dir": f"{folder}/state"}, file, replace=False)
            except BackupError as error:
                return str(error)
        return True

    def _copy_of_the_database(self, steps: str) -> Value:
        """Returns True if there is a complete copy of the database with this schema version."""
        for path in (self._state / "copies").glob(f"*-schema{steps}-*.db"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as copy:
                if copy.execute("PRAGMA quick_check").fetchone() == ("ok",):
                    return len(copy.execute("SELECT * FROM inbox_items").fetchall()) == 1
        return None

    def _definition(self, column: str, value: str) -> Value:
        """Returns the image of the first operator of a pipeline."""
        rows = self._site.rows(
            "SELECT files FROM pipelines p JOIN definitions d ON d.digest = p.definition"
            f" WHERE p.{column} = ? AND p.removed IS NULL",
            value,
        )
        if len(rows) != 1:
            return f"{len(rows)} pipelines" if rows else None
        return next(
            (name for name in ("slow", "forever") if f"image: {name}" in rows[0]["files"]), "copy"
        )

    # --- orphans ------------------------------------------------------------------------------

    def _of_leftovers(self) -> Iterator[Fault]:
        hidden = [p for name in ("outbox", "failed", "originals", "inbox")
                  for p in (self._state / name).rglob(".*")]  # fmt: skip
        emptied = [p for name in ("spool", "uploads", "removed")
                   for p in (self._state / name).iterdir()]  # fmt: skip
        for path in [*hidden, *emptied]:
            yield Fault("left", str(path.relative_to(self._state)))
        rows = self._site.rows("SELECT payload, blob FROM payload_files")
        named = {f"{row['payload']}/{os.fsdecode(bytes(row['blob']))}" for row in rows}
        for folder in (self._state / "payloads").iterdir():
            if folder.name not in self._payloads:
                yield Fault("left", f"payloads/{folder.name}")
                continue
            for blob in (folder / "blobs").glob("*"):
                if f"{folder.name}/blobs/{blob.name}" not in named:
                    yield Fault("left", "a blob without a row")


def _of_result(folder: Path, report: Mapping[str, Any]) -> Iterator[Fault]:
    found = contents(folder)
    found.pop("result.json", None)
    listed = {file["path"]: file["sha256"] for file in report["files"]}
    if found != listed:
        yield Fault(
            "half", f"{folder.name} has {len(found)} files of {len(listed)}, or other bytes"
        )
    given, made = {one["sha256"] for one in report["inputs"]}, set(found.values())
    if given != made:
        yield Fault("half", f"{folder.name} was made of {len(made)} of {len(given)} inputs")
