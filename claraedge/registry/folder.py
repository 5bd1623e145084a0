"""`pipelines.d`: registers the files in this folder as pipelines, without changing or removing any.

Each `*.yaml` and `*.yml` at the top is a pipeline; sub-folders contain what they import. A scan
compares the folder with what is registered. It registers only files that were unchanged,
including their imports, since the previous scan. A file that is wrong, or is being written, leaves
the registered pipeline unchanged.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from claraedge import failpoints
from claraedge.blocking import in_thread
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.errors import (
    ClaraedgeError,
    PipelineDefinitionError,
    PipelineStoreError,
    SetAsideError,
)
from claraedge.formats.filenames import shown
from claraedge.pipelines.model import DefinitionFile
from claraedge.pipelines.syntax.problems import Problem
from claraedge.registry import file_records
from claraedge.registry.file_records import OfFile
from claraedge.registry.pipelines import Pipelines, digest_of
from claraedge.registry.sources import GatheredDefinition, Standing, gather, remedy, standing
from claraedge.registry.top import Top, scan_top
from claraedge.store.database import Database, Transaction
from claraedge.store.failures import reported_as
from claraedge.suspects import UNRECORDED, Suspects, Work

_log = logging.getLogger(__name__)

_FACT = "pipelines.d"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFile:
    """A file of the folder, with the pipeline that it defines."""

    name: str
    """The name in the folder, escaped where it is no text."""
    path: str
    pipeline: OfFile | None
    """None: no pipeline was ever registered from it."""
    problems: tuple[str, ...]
    """Why the registered pipeline differs from the current content of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A definition that is to be registered."""

    source: str
    pipeline_name: str
    files: tuple[DefinitionFile, ...]


class PipelineFolder:
    """Scans one folder while `run` runs."""

    def __init__(
        self,
        database: Database,
        pipelines: Pipelines,
        clock: Clock,
        folder: Path,
        *,
        pause: float,
        suspects: Suspects = UNRECORDED,
    ) -> None:
        """`pause`: seconds between two scans."""
        self._database = database
        self._pipelines = pipelines
        self._clock = clock
        self._folder = folder
        self._pause = pause
        self._suspects = suspects
        self._place: str | None = None
        """The recorded folder and mount point; None: not read yet."""
        self._names: frozenset[str] | None = None
        """The names in the previous scan; None: there was none."""
        self._stood: dict[str, Mapping[str, Standing]] = {}
        """File -> the state of each file of its set when it was last read."""
        self._done: dict[str, Mapping[str, Standing]] = {}
        """The same for files that were registered or refused: skipped while that is unchanged."""
        self._problems: dict[str, tuple[str, ...]] = {}
        self._misnamed: Mapping[str, str] = {}
        """Entries whose name is no text, escaped -> why they are not registered."""
        self._same_name: tuple[str, ...] = ()
        self._trouble = ""
        """Why nothing is scanned now; empty where nothing blocks it."""

    def warnings(self) -> Sequence[str]:
        """Returns problems that need a correction, for `claraedge status`."""
        found = [f"{self._folder}: {self._trouble}"] if self._trouble else []
        for problems in self._problems.values():
            more = f" (and {len(problems) - 1} more: `claraedge list pipelines`)"
            found.append(problems[0] + (more if len(problems) > 1 else ""))
        return [*found, *self._misnamed.values(), *self._same_name]

    async def files(self) -> Sequence[PipelineFile]:
        """Returns the files in the folder by name, including those that were registered and are
        gone.
        """
        known = await self._database.read(file_records.known)
        problems = {**self._problems, **{n: (why,) for n, why in self._misnamed.items()}}
        return [
            PipelineFile(
                name=name,
                path=f"{self._folder}/{name}",
                pipeline=known.get(name),
                problems=problems.get(name, ()),
            )
            for name in sorted({*known, *problems, *(self._names or ())})
        ]

    async def prepare(self) -> None:
        """Applies what changed while the daemon did not run; call it at start, before anything
        creates jobs.

        What changed within the last pause is left to later scans.
        """
        await self._try(at_start=True)

    async def run(self) -> None:
        """Scans until cancelled. What fails now is tried again."""
        while True:
            await asyncio.sleep(self._pause)
            await self._try(at_start=False)

    async def _try(self, *, at_start: bool) -> None:
        try:
            await self.scan(at_start=at_start)
        except ClaraedgeError as error:
            self._met(str(error))
        except PermissionError as error:
            self._met(f"cannot be read ({error.strerror}); {remedy(self._folder)}")
        except OSError as error:
            self._met(
                f"cannot be read ({error.strerror or error}); nothing changes until it can:"
                " correct that, or set [pipelines] path to another folder"
            )
        except Exception as error:  # noqa: BLE001 - only this scan fails
            self._met(str(known(error, "a scan of the folder of pipelines")))

    async def scan(self, *, at_start: bool = False) -> None:
        """Scans once: registers what is new or changed, and disables what is gone.

        Raises PipelineStoreError where the result cannot be stored now, and OSError where the
        folder cannot be read: then nothing changes.
        """
        before = self._clock.now() - self._pause
        known = await self._database.read(file_records.known)
        present = [one for one in known.values() if not one.gone]
        top = await in_thread(scan_top, self._folder, make=not present)
        if await self._is_unmounted(top, present):
            self._met(
                "is empty, and what was mounted when files lay there is not; mount it. To disable"
                " its pipelines all the same, put a file of any name there"
            )
            return
        if self._trouble:
            _log.info("pipelines.d can be read again", extra={"folder": str(self._folder)})
        self._trouble = ""
        names = self._named(top)
        self._forget(names)
        changes = []
        for name in names:
            change = await self._apart(name, known.get(name), before if at_start else None)
            changes += [] if change is None else [change]
        gone = [one.source for one in present if self._is_gone(one.source, names)]
        if at_start and top.changed / 1e9 <= before:
            gone = [one.source for one in present if one.source not in names]
        self._names = frozenset(names)
        await self._store(changes, gone)
        self._same_name = self._twins(await self._database.read(file_records.known))

    async def _is_unmounted(self, top: Top, present: Sequence[OfFile]) -> bool:
        """Whether the mount with the files seems to be missing. Records the folder and its mount
        point.
        """
        if self._place is None:
            row = await self._database.read(lambda tx: tx.row("fact", key=_FACT))
            self._place = "" if row is None else str(row["value"])
        folder = shown(os.fsencode(self._folder))
        place = f"{folder}\n{top.mount}"
        if place == self._place:
            return False
        if top.empty:
            return bool(present) and self._place.startswith(f"{folder}\n")
        with reported_as(PipelineStoreError, "where it lies could not be stored"):
            await self._database.write(lambda tx: tx.run("put_fact", key=_FACT, value=place))
        self._place = place
        return False

    def _is_gone(self, source: str, names: Iterable[str]) -> bool:
        """Whether a file is missing in two scans: programs that save it may remove it briefly."""
        return source not in names and self._names is not None and source not in self._names

    def _named(self, top: Top) -> Sequence[str]:
        """Returns the names that are text, the newest file last; logs what is wrong with the
        others.
        """
        names, misnamed = [], {}
        reasons = dict.fromkeys(top.almost, "its name has one more ending, which Windows hides")
        for name, _ in sorted(top.found.items(), key=lambda item: (item[1].modified, item[0])):
            text = shown(name)
            if text.isprintable() and os.fsencode(text) == name:
                names.append(text)
            else:
                reasons[name] = "its name is no printable text"
        for name, reason in reasons.items():
            escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown(name))
            misnamed[escaped] = f"{self._folder}/{escaped}: {reason}; rename it"
            if escaped not in self._misnamed:
                _log.warning("pipeline file not taken", extra={"reason": misnamed[escaped]})
        self._misnamed = misnamed
        return names

    def _forget(self, names: Sequence[str]) -> None:
        """Drops what is known of files that no longer exist."""
        kept: dict[str, Mapping[str, Standing]] | dict[str, tuple[str, ...]]
        for kept in (self._stood, self._done, self._problems):
            for name in kept.keys() - set(names):
                del kept[name]

    # --- one file ------------------------------------------------------------------------------

    async def _apart(
        self, name: str, registered: OfFile | None, settled_before: float | None
    ) -> _Change | None:
        """Calls `_changed`, so that an error in one file does not keep the others from
        being read.
        """
        try:
            async with self._suspects.during(Work.PIPELINE, name):
                return await self._changed(name, registered, settled_before)
        except Exception as error:
            why = known(error, "the inspection of a pipeline file", file=name)
            if why is error and not isinstance(error, SetAsideError):
                raise  # it affects all files
        self._done.pop(name, None)
        self._problems[name] = (f"{self._folder}/{name}: {why}",)
        return None

    async def _changed(
        self, name: str, registered: OfFile | None, settled_before: float | None
    ) -> _Change | None:
        """Returns what has to be registered for a file now. `settled_before`: see
        `_has_settled`.
        """
        done = self._done.get(name)
        enabled = registered is not None and not registered.gone
        if done is not None and (enabled or name in self._problems):
            now = await in_thread(_standings, self._folder, tuple(done))
            if now == done:
                return None
        gathered = await in_thread(gather, self._folder, name)
        failpoints.reach("pipelines.d: gathered")
        if not _has_settled(gathered, self._stood.get(name), settled_before):
            self._stood[name] = gathered.standings
            self._done.pop(name, None)
            return None
        self._stood[name] = gathered.standings
        if enabled and not gathered.problems:
            assert registered is not None
            if registered.definition == digest_of(gathered.files):
                self._settle(name, gathered)
                return None
        return await self._checked(name, gathered)

    async def _checked(self, name: str, gathered: GatheredDefinition) -> _Change | None:
        problems = list(gathered.problems)
        pipeline = None
        if gathered.files and gathered.files[0].path == name:
            try:
                loaded = await self._pipelines.check(gathered.files)
            except PipelineDefinitionError as error:
                texts = tuple(f"{self._folder}/{name}: {text}" for text in error.messages)
                self._refuse(name, texts, at=gathered.standings)
                return None
            reported = {(p.file, p.line, p.column) for p in problems}
            problems += [p for p in loaded.errors if (p.file, p.line, p.column) not in reported]
            pipeline = loaded.pipeline
        if problems or pipeline is None:
            texts = tuple(str(self._placed(problem)) for problem in problems)
            self._refuse(name, texts, at=gathered.standings)
            return None
        return _Change(source=name, pipeline_name=pipeline.name, files=gathered.files)

    def _placed(self, problem: Problem) -> Problem:
        """Returns the problem with the full path of the file."""
        return msgspec.structs.replace(problem, file=f"{self._folder}/{problem.file}")

    def _refuse(self, name: str, problems: tuple[str, ...], at: Mapping[str, Standing]) -> None:
        self._done[name] = at
        if self._problems.get(name) != problems:
            _log.warning(
                "pipeline file not taken",
                extra={"file": f"{self._folder}/{name}", "reason": "; ".join(problems)},
            )
        self._problems[name] = problems

    def _settle(self, name: str, gathered: GatheredDefinition) -> None:
        self._done[name] = gathered.standings
        self._problems.pop(name, None)

    # --- the registry --------------------------------------------------------------------------

    async def _store(self, changes: Sequence[_Change], gone: Sequence[str]) -> None:
        """Stores the result of a scan in one transaction: a renamed file is never missing or
        present twice.
        """
        if not (changes or gone):
            return

        def work(tx: Transaction) -> list[str]:
            now = self._clock.now()
            put = [
                file_records.put(tx, change.source, change.pipeline_name, change.files, now)
                for change in changes
            ]
            for source in gone:
                file_records.disable(tx, source, now)
            return [c.source for c, done in zip(changes, put, strict=True) if not done]

        failpoints.reach("pipelines.d: before commit")
        with reported_as(PipelineStoreError, "its pipelines could not be stored"):
            taken = await self._database.write(work)
        failpoints.reach("pipelines.d: committed")
        for change in changes:
            name = change.source
            if name in taken:
                why = (
                    f"{self._folder}/{name}: the id {file_records.id_of(name)} that it stands for"
                    " is taken by a pipeline of a client; rename the file"
                )
                self._refuse(name, (why,), at=self._stood[name])
                continue
            self._done[name] = self._stood[name]
            self._problems.pop(name, None)
            _log.info(
                "pipeline of a file registered",
                extra={
                    "file": f"{self._folder}/{name}",
                    "pipeline": file_records.id_of(name),
                    "pipeline_name": change.pipeline_name,
                },
            )
        for name in gone:
            _log.warning(
                "pipeline disabled: its file is gone",
                extra={"file": f"{self._folder}/{name}", "pipeline": file_records.id_of(name)},
            )
        self._pipelines.on_created()
        failpoints.reach("pipelines.d: announced")

    def _twins(self, known: Mapping[str, OfFile]) -> tuple[str, ...]:
        """Returns warnings for files that define pipelines of the same name, which means only the
        newest.
        """
        newest: dict[str, OfFile] = {}
        found = []
        for one in known.values():
            if one.gone:
                continue
            older = newest.get(one.name.casefold())
            newest[one.name.casefold()] = one
            if older is not None:
                found.append(
                    f"{self._folder}/{one.source} and {older.source} both define the pipeline"
                    f" {one.name}; the name means the former. Rename one of the pipelines, or"
                    " remove one of the files"
                )
        return tuple(found)

    def _met(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning(
                "pipelines.d waits", extra={"folder": str(self._folder), "reason": trouble}
            )
        self._trouble = trouble


def _has_settled(
    gathered: GatheredDefinition, stood: Mapping[str, Standing] | None, before: float | None
) -> bool:
    """Whether nobody is writing to any file of a set.

    All are in the same state as in the previous scan, or have not changed since `before`, a time in
    Unix seconds.
    """
    if gathered.standings == stood:
        return True
    seen = [one for each in gathered.standings.values() for one in each if one is not None]
    known = all(each.itself is not None for each in gathered.standings.values())
    return before is not None and known and all(one.changed / 1e9 <= before for one in seen)


def _standings(folder: Path, paths: Sequence[str]) -> Mapping[str, Standing]:
    return {path: standing(folder, path) for path in paths}
