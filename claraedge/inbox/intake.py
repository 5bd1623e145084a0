"""Takes claimed items the rest of their way: secured, a payload, a job; or failed with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from claraedge import files
from claraedge.blocking import in_cancellable_thread, in_thread
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery.plan import plan
from claraedge.delivery.roots import Roots
from claraedge.delivery.spool import Spool
from claraedge.delivery.trees import remove
from claraedge.errors import ClaraedgeError
from claraedge.ids import NewId
from claraedge.inbox import records
from claraedge.inbox.claim import Faulty, Gone, Held, Secured, Unsettled, looked_at, secure
from claraedge.inbox.definitions import Definition, Definitions
from claraedge.inbox.duplicates import Duplicates
from claraedge.inbox.failures import Failures
from claraedge.inbox.model import Claimed, Item, ItemState
from claraedge.inbox.submit import (
    Filled,
    Outcome,
    PipelineChangedError,
    Prepared,
    Resolved,
    fill_payload,
    submit,
)
from claraedge.jobs.model import Priority
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline
from claraedge.store.database import Database, Transaction

_log = logging.getLogger(__name__)

_AT_ONCE = 4
#: Jobs are made together, as many as come in so many seconds.
_BATCH = 64
_LINGER = 0.03
#: Jobs come to be in the order of their claims, unless one takes longer than this to be read.
_IN_ORDER = 1.0
#: No more is claimed while so much is on its way.
_BACKLOG = 256
_FIRST_RETRY = 2.0
_LAST_RETRY = 60.0

Failpoint: TypeAlias = Callable[[str], None]
#: Digest of a definition, parameters, and the job where it names that.
_Whole: TypeAlias = tuple[str, tuple[tuple[str, str], ...], str]


@dataclass(slots=True)
class _Pending:
    item: Claimed
    due: float = 0.0
    wait: float = field(default_factory=lambda: _FIRST_RETRY)
    moved: bool = False
    """No more in the inbox under its name, which may be another entry's by now."""
    began: float | None = None
    """When its present step began; None: it waits."""
    filled: Filled | None = None
    """Whole: only its rows are missing."""
    since: float = 0.0
    """When it was."""

    def rest(self) -> None:
        """Its step has ended."""
        self.began = self.filled = None


class Intake:
    """The items between their claim and their job, for as long as `run` runs."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        config: Config,
        clock: Clock,
        new_id: NewId,
        definitions: Definitions,
        on_submitted: Callable[[str, Priority], None],
        failpoint: Failpoint,
        applied: Callable[[Pipeline], Awaitable[Pipeline]],
        roots: Roots,
        held: Callable[[], str | None],
        on_progress: Callable[[], None],
    ) -> None:
        """`held` says why nothing goes on now; `on_progress` is told where items went on."""
        self._database = database
        self._tree = tree
        self._failures = Failures(roots.failed, clock, failpoint)
        self._spool = Spool(config.state_dir)
        self._clock = clock
        self._new_id = new_id
        self._definitions = definitions
        self._on_submitted = on_submitted
        self._failpoint = failpoint
        self._applied = applied
        self._held = held
        self._on_progress = on_progress
        self._wake = asyncio.Event()
        self._uid = os.geteuid()
        self._pending: dict[str, _Pending] = {}
        self._duplicates = Duplicates(database, tree, config, clock, roots, failpoint)

    # --- what is known --------------------------------------------------------------------------

    def taken(self) -> set[tuple[Path, bytes]]:
        """Entries of triggers' folders that are being taken: no other items."""
        return {
            (p.item.folder, path)
            for p in self._pending.values()
            if not p.moved
            for path in p.item.paths
        }

    def full(self) -> bool:
        """So much is on its way that nothing more is to be claimed."""
        return self.waiting() >= _BACKLOG

    def waiting(self) -> int:
        """How many would go on at once: nothing keeps them that was recorded."""
        return sum(not p.item.reason for p in self._pending.values())

    def overlay(self, item: Item, held: str | None) -> Item:
        """The item with what is known beyond its row: a full disk cannot be written down.

        `held` says why none goes on.
        """
        pending = self._pending.get(item.id)
        if pending is None:
            return item
        if not pending.item.reason:
            return item if held is None else replace(item, state=ItemState.PARKED, reason=held)
        return replace(
            item,
            state=ItemState.PARKED,
            reason=pending.item.reason,
            mend=pending.item.mend,
        )

    def poke(self) -> None:
        """What held items may be gone: try them all again."""
        for pending in self._pending.values():
            pending.due = min(pending.due, self._clock.elapsed())
        self._wake.set()

    def try_now(self, item: str) -> bool:
        """Has a claimed item tried again at once; False where none has this id."""
        pending = self._pending.get(item)
        if pending is None:
            return False
        pending.due = min(pending.due, self._clock.elapsed())
        self._wake.set()
        return True

    # --- at start -------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Finds the items that a stop or a crash left between two steps."""
        await in_thread(files.make_folders, self._spool.root)
        for item in await self._database.read(records.claimed):
            self._pending[item.id] = _Pending(item)
        await self._sweep()
        await self._duplicates.look()

    async def _sweep(self) -> None:
        for name in await in_thread(os.listdir, self._spool.root):
            state = await self._database.read(lambda tx, item=name: records.state(tx, item))  # type: ignore[misc]
            folder = self._spool.folder(name)
            try:
                if state in (ItemState.DELIVERED, ItemState.FAILED):
                    await in_thread(remove, folder)
                elif state is None:
                    await in_cancellable_thread(self._failures.put_unknown, folder)
            except OSError as error:
                _log.warning("%s in the spool cannot be put away: %s", name, error)

    # --- taking in ------------------------------------------------------------------------------

    async def claim(self, items: Sequence[Claimed], seen: Sequence[str]) -> None:
        """Records the claims, together, of what was `seen` as these entries.

        Raises StorageFullError where that cannot be.
        """
        now = self._clock.now()

        def work(tx: Transaction) -> None:
            for item in items:
                records.claim(tx, item, now)
            for entry in seen:
                records.unsee(tx, entry)

        self._failpoint("claim: before row")
        await self._database.write(work)
        for item in items:
            self._pending[item.id] = _Pending(item)
        self._failpoint("claim: row")
        self._wake.set()

    async def run(self) -> None:
        """Takes items on until it is cancelled. Raises only what is a bug."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                times: list[float | None] = []
                if self._held() is None:
                    times = [self._start(group), await self._submit_filled()]
                    await self._duplicates.advance()
                    times.append(self._duplicates.next_due())
                await self._pause(times)

    async def _pause(self, times: Iterable[float | None]) -> None:
        until = min((t for t in times if t is not None), default=None)
        timeout = None if until is None else max(0.0, until - self._clock.elapsed())
        # Not wait_for: that of Python 3.11 loses a cancel that meets the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()

    def _start(self, group: asyncio.TaskGroup) -> float | None:
        """Begins with items that are due, in order; when another one will be."""
        now = self._clock.elapsed()
        at_work = sum(p.began is not None and p.filled is None for p in self._pending.values())
        waiting = [p for p in self._pending.values() if p.began is None]
        for pending in waiting:
            if pending.due <= now and at_work < _AT_ONCE:
                at_work += 1
                pending.began = now
                group.create_task(self._work(pending), name=f"take {pending.item.id}")
        later = [p.due for p in waiting if p.due > now]
        return min(later, default=None)

    async def _work(self, pending: _Pending) -> None:
        try:
            filled = await self._fill(pending)
        except (OSError, ClaraedgeError, sqlite3.OperationalError) as error:
            await self._hold(pending, _text(error))
            filled = None
        if filled is None:
            pending.rest()
            self._on_progress()
        pending.filled, pending.since = filled, self._clock.elapsed()
        self._wake.set()

    async def _submit_filled(self) -> float | None:
        """Makes jobs of what is whole, in order; when to look again, where some has to wait."""
        now = self._clock.elapsed()
        whole: list[_Pending] = []
        look_again: float | None = None
        for pending in self._pending.values():
            if pending.filled is not None:
                whole.append(pending)
            elif pending.began is not None and now - pending.began < _IN_ORDER:
                look_again = pending.began + _IN_ORDER
                break
        if not whole:
            return look_again
        oldest = min(pending.since for pending in whole)
        more = any(p.began is None and p.due <= now for p in self._pending.values())
        if (look_again is not None or more) and len(whole) < _BATCH and now - oldest < _LINGER:
            return oldest + _LINGER
        await self._submit(whole[:_BATCH])
        for pending in whole[:_BATCH]:
            pending.rest()
        self._on_progress()
        self._wake.set()
        return look_again

    async def _fill(self, pending: _Pending) -> Filled | None:
        """Secures one item and makes its payload's files; None where it goes another way."""
        item = pending.item
        progress = await in_cancellable_thread(
            secure, item, self._spool, self._uid, self._failpoint
        )
        if isinstance(progress, Gone):
            await self._release(pending)
            return None
        pending.moved = True
        match progress:
            case Held(reason=reason, mend=mend):
                await self._hold(pending, reason, mend)
            case Unsettled(content=content):
                pending.item = replace(item, content=content)
                pending.due = self._clock.elapsed() + item.options.settle
            case Faulty(reason=reason, path=path):
                await self._fail(pending, reason, path)
            case Secured(path=path):
                filled = await in_cancellable_thread(fill_payload, item, path, self._tree)
                self._failpoint("submit: payload")
                content = await in_thread(self._content, item, path)
                if path == self._spool.raw(item.id, item.name) and content != item.content:
                    pending.item = replace(item, content=content)
                    pending.due = self._clock.elapsed() + item.options.settle
                    return None
                return filled
        return None

    def _content(self, item: Claimed, path: Path) -> str:
        return looked_at(item, path, self._uid).content

    # --- the ends -------------------------------------------------------------------------------

    async def _submit(self, filled: Iterable[_Pending]) -> None:
        prepared: list[Prepared] = []
        whole: dict[_Whole, Pipeline] = {}
        for pending in filled:
            item, done = pending.item, pending.filled
            assert done is not None
            parameters = item.options.parameters
            definition = await self._definitions.find(item.pipeline, item.deliver, parameters)
            if definition.resolved is None:
                await self._hold(pending, definition.problem, definition.mend)
                continue
            job = self._new_id()
            try:
                resolved = await self._resolved(definition, job, item, whole)
            except (ClaraedgeError, OSError) as error:
                await self._hold(pending, _text(error))
                continue
            prepared.append(Prepared(item=item, job=job, filled=done, resolved=resolved))
        if not prepared:
            return
        now = self._clock.now()

        def work(tx: Transaction) -> list[Outcome]:
            return [submit(tx, one, now) for one in prepared]

        self._failpoint("submit: before commit")
        try:
            outcomes = await self._database.write(work)
        except PipelineChangedError:
            for one in prepared:  # rare: all are resolved again, at once
                self._pending[one.item.id].due = self._clock.elapsed()
            return
        except (ClaraedgeError, sqlite3.OperationalError) as error:
            for one in prepared:
                await self._hold(self._pending[one.item.id], _text(error))
            return
        self._failpoint("submit: committed")
        for one, outcome in zip(prepared, outcomes, strict=True):
            await self._follow(one, outcome)

    async def _follow(self, one: Prepared, outcome: Outcome) -> None:
        item = one.item
        match outcome:
            case Outcome.LATER:
                await self._hold(
                    self._pending[item.id],
                    "the same content is being worked on already; it waits for that job's end",
                )
            case Outcome.DUPLICATE:
                del self._pending[item.id]
                await self._duplicates.look()
            case Outcome.JOB:
                del self._pending[item.id]
                _log.info(
                    "%s became a job",
                    item.text,
                    extra={"job": one.job, "item": item.id, "pipeline": item.pipeline},
                )
                self._on_submitted(one.job, item.options.jobs_priority)

    async def _resolved(
        self, definition: Definition, job: str, item: Claimed, whole: dict[_Whole, Pipeline]
    ) -> Resolved:
        """The pipeline of a job, with what images say themselves; `whole` keeps those of a batch.

        Raises PipelineLoadError, InvalidRequestError where `deliver` names what it does not have.
        """
        parameters = item.options.parameters
        resolved = await self._definitions.for_job(definition, job, parameters)
        own = "" if definition.per_job is None else job
        key = (resolved.definition, tuple(sorted(parameters.items())), own)
        if key not in whole:
            whole[key] = await self._applied(resolved.pipeline)
        plan(whole[key], item.deliver)
        return replace(resolved, pipeline=whole[key])

    async def _hold(self, pending: _Pending, reason: str, mend: str = "") -> None:
        pending.due = self._clock.elapsed() + pending.wait
        pending.wait = min(pending.wait * 2, _LAST_RETRY)
        item = pending.item
        if (item.reason, item.mend) == (reason, mend):
            return
        pending.item = replace(item, reason=reason, mend=mend)
        _log.warning("%s is held: %s", item.text, reason, extra={"item": item.id})
        now = self._clock.now()
        # On a full disk the row stays as it is; `overlay` tells the reason all the same.
        with contextlib.suppress(ClaraedgeError, sqlite3.OperationalError):
            await self._database.write(lambda tx: records.hold(tx, item.id, reason, mend, now))

    async def _release(self, pending: _Pending) -> None:
        item = pending.item
        failure = await in_thread(self._failures.of, item)
        if failure is not None:  # a crash came between its failure and the row that says so
            await self._failed_row(item, "failed before; see reason.json", failure)
        else:
            await self._database.write(lambda tx: records.release(tx, item.id))
            _log.info("%s is not as it was, or gone; looking again", item.text)
        await in_thread(remove, self._spool.folder(item.id))
        del self._pending[item.id]

    async def _fail(self, pending: _Pending, reason: str, path: Path) -> None:
        item = pending.item
        target = await in_cancellable_thread(self._failures.put, item, reason, path)
        self._failpoint("fail: before commit")
        await self._failed_row(item, reason, target)
        self._failpoint("fail: committed")
        await in_thread(remove, self._spool.folder(item.id))
        del self._pending[item.id]
        _log.warning("%s failed: %s; it lies in %s", item.text, reason, target)

    async def _failed_row(self, item: Claimed, reason: str, target: Path) -> None:
        now = self._clock.now()
        await self._database.write(lambda tx: records.fail(tx, item.id, reason, str(target), now))


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{where}"
    return str(error)
