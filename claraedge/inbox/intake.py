"""Takes claimed items the rest of their way: secured, a payload, a job; or failed with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from claraedge import files
from claraedge.blocking import in_cancellable_thread, in_thread
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery.failpoints import Failpoint
from claraedge.delivery.plan import plan
from claraedge.delivery.room import NoRoomError, reason_of
from claraedge.delivery.roots import Roots
from claraedge.delivery.spool import Spool
from claraedge.delivery.trees import remove
from claraedge.errors import ClaraedgeError
from claraedge.ids import NewId
from claraedge.inbox import records
from claraedge.inbox.claim import Faulty, Gone, Held, Unsettled
from claraedge.inbox.definitions import Definition, Definitions
from claraedge.inbox.duplicates import Duplicates
from claraedge.inbox.failures import Failures
from claraedge.inbox.model import Claimed, Item, ItemState
from claraedge.inbox.shares import on_share
from claraedge.inbox.submit import (
    Filled,
    Later,
    Outcome,
    PipelineChangedError,
    Prepared,
    Resolved,
    submit,
)
from claraedge.inbox.taking import NotBegun, Taker
from claraedge.jobs.model import Priority
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline
from claraedge.store.database import Database, Transaction

_log = logging.getLogger(__name__)

#: Threads that take items, and what one of them takes at a time, at most.
_AT_ONCE = 4
_AT_ONCE_OF_SHARE = 2
_TOGETHER, _TOGETHER_BYTES = 16, 8 << 20
#: Jobs are made together, as many as come in so many seconds.
_BATCH = 64
_LINGER = 0.03
#: Jobs come to be in the order of their claims, unless one takes longer than this to be read.
_IN_ORDER = 1.0
#: No more is claimed while so much is on its way.
_BACKLOG = 256
_FIRST_RETRY = 2.0
_LAST_RETRY = 60.0
#: What a disk had no room for is tried so often: it is known before it is copied.
_ROOM_RETRY = 5.0

#: Digest of a definition, parameters, and the job where it names that.
_Whole: TypeAlias = tuple[str, tuple[tuple[str, str], ...], str]
#: A pipeline's name, outputs to deliver, parameters.
_Wish: TypeAlias = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class _Pending:
    item: Claimed
    due: float = 0.0
    wait: float = field(default_factory=lambda: _FIRST_RETRY)
    moved: bool = False
    """No more in the inbox under its name, which may be another entry's by now."""
    began: float | None = None
    """When its present step began; None: it waits."""
    turn: float | None = None
    """The same, also while it was passed over since; those behind it wait for it for a while."""
    filled: Filled | None = None
    """Whole: only its rows are missing."""
    since: float = 0.0
    """When it was."""
    known: Filled | None = None
    """It was whole before, and could not become a job yet."""

    @property
    def tried(self) -> bool:
        """In vain: it goes on its own, and keeps no other waiting."""
        return self.wait > _FIRST_RETRY or bool(self.item.reason)

    def rest(self) -> None:
        """Its step has ended."""
        self.began = self.turn = self.filled = None


class _Entries:
    """The entries of triggers' folders that are being taken.

    Of an earlier life two items may have the same: the first was moved, and nobody knows that yet.
    """

    def __init__(self) -> None:
        self.taken: Counter[tuple[Path, bytes]] = Counter()

    def take(self, pending: _Pending) -> None:
        self.taken.update((pending.item.folder, path) for path in pending.item.paths)

    def leave(self, pending: _Pending) -> None:
        """They are no more in the inbox as what was taken; once is enough."""
        if pending.moved:
            return
        pending.moved = True
        for path in pending.item.paths:
            key = (pending.item.folder, path)
            self.taken[key] -= 1
            if not self.taken[key]:
                del self.taken[key]


def _together(due: deque[_Pending], most: int) -> list[_Pending]:
    """Takes the next ones that one thread is to take at once, `most` of them or fewer."""
    taken = [due.popleft()]
    size, folder = taken[0].item.size, taken[0].item.folder
    shared = on_share(folder)
    while due and len(taken) < min(most, _TOGETHER) and not taken[-1].tried and not due[0].tried:
        if due[0].item.folder != folder and (shared or on_share(due[0].item.folder)):
            break
        size += due[0].item.size
        if size > _TOGETHER_BYTES:
            break
        taken.append(due.popleft())
    return taken


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
        self._taker = Taker(self._spool, tree, failpoint)
        self._at_work = 0
        self._asked: Counter[Path] = Counter()
        """By folder on a share, threads that take items of it, besides the others: it may hang."""
        self._pending: dict[str, _Pending] = {}
        self._awaiting: dict[str, set[str]] = {}
        """By job, the items that wait for its end."""
        self._entries = _Entries()
        self._duplicates = Duplicates(
            database, tree, config, clock, roots, self._take_again, failpoint
        )

    # --- what is known --------------------------------------------------------------------------

    def taken(self) -> Container[tuple[Path, bytes]]:
        """Entries of triggers' folders that are being taken: no other items."""
        return self._entries.taken

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
        self._duplicates.poke()
        self._wake.set()

    def job_ended(self, job: str) -> None:
        """Its results were delivered, or its failure: items of the same content waited for that."""
        for item in self._awaiting.pop(job, ()):
            self.try_now(item)

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
            self._add(item)
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
            self._add(item)
        self._failpoint("claim: row")
        self._wake.set()

    def _add(self, item: Claimed) -> None:
        self._pending[item.id] = _Pending(item)
        self._entries.take(self._pending[item.id])

    def _take_again(self, item: Claimed) -> None:
        """A duplicate that has to become a job of its own."""
        self._add(item)
        self._pending[item.id].wait = 2 * _FIRST_RETRY  # it has had its turn
        self._wake.set()

    def _drop(self, item: str) -> None:
        """Its way ends here."""
        self._entries.leave(self._pending.pop(item))

    async def run(self) -> None:
        """Takes items on until it is cancelled. Raises only what is a bug."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._duplicates.run(), name="put duplicates away")
            while True:
                self._wake.clear()
                times: list[float | None] = []
                if self._held() is None:
                    times = [self._start(group), await self._submit_filled()]
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
        waiting = [p for p in self._pending.values() if p.began is None]
        due = deque(p for p in waiting if p.due <= now and not self._hangs(p))
        while due and self._at_work < _AT_ONCE:
            together = _together(due, most=-(-len(due) // (_AT_ONCE - self._at_work)))
            if self._hangs(together[0]):
                continue
            for pending in together:
                pending.began = now
                pending.turn = now if pending.turn is None else pending.turn
            folder = together[0].item.folder
            if on_share(folder):
                self._asked[folder] += 1
            else:
                self._at_work += 1
            group.create_task(self._work(together), name=f"take {together[0].item.id}")
        return min((p.due for p in waiting if p.due > now), default=None)

    def _hangs(self, pending: _Pending) -> bool:
        """Its share is busy with others, perhaps for ever."""
        return self._asked[pending.item.folder] >= _AT_ONCE_OF_SHARE

    async def _work(self, together: Sequence[_Pending]) -> None:
        try:
            steps = await in_cancellable_thread(
                self._taker.take,
                [pending.item for pending in together],
                {p.item.id: p.known for p in together if p.known is not None},
            )
        finally:
            if self._asked[together[0].item.folder]:
                self._asked[together[0].item.folder] -= 1
            else:
                self._at_work -= 1
        now = self._clock.elapsed()
        others = []
        for pending, step in zip(together, steps, strict=True):
            if not isinstance(step, Gone | NotBegun | OSError | ClaraedgeError):
                self._entries.leave(pending)
            if isinstance(step, Filled):
                pending.filled = pending.known = step
                pending.since = now
            else:
                pending.known = pending.known if isinstance(step, NotBegun) else None
                others.append((pending, step))
        self._wake.set()  # what is whole waits for none of the others
        for pending, step in others:
            if isinstance(step, NotBegun):
                pending.began = None
                continue
            try:
                await self._follow_up(pending, step)
            except (OSError, ClaraedgeError, sqlite3.OperationalError) as error:
                await self._hold(pending, reason_of(error))
            pending.rest()
        if others:
            self._on_progress()
            self._wake.set()

    async def _follow_up(
        self,
        pending: _Pending,
        step: Held | Gone | Unsettled | Faulty | OSError | ClaraedgeError,
    ) -> None:
        """What an item's step means that is not whole."""
        match step:
            case Gone():
                await self._release(pending)
            case Held(reason=reason, mend=mend):
                await self._hold(pending, reason, mend)
            case Unsettled(content=content):
                pending.item = replace(pending.item, content=content)
                pending.due = self._clock.elapsed() + pending.item.options.settle
            case Faulty(reason=reason, path=path):
                await self._fail(pending, reason, path)
            case OSError() | ClaraedgeError():
                await self._hold(pending, reason_of(step))
                if isinstance(step, NoRoomError):
                    pending.due = min(pending.due, self._clock.elapsed() + _ROOM_RETRY)

    async def _submit_filled(self) -> float | None:
        """Makes jobs of what is whole, in order; when to look again, where some has to wait."""
        now = self._clock.elapsed()
        whole: list[_Pending] = []
        look_again: float | None = None
        for pending in self._pending.values():
            if pending.filled is not None:
                whole.append(pending)
            elif pending.turn is not None and now - pending.turn < _IN_ORDER:
                look_again = pending.turn + _IN_ORDER
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

    # --- the ends -------------------------------------------------------------------------------

    async def _submit(self, filled: Iterable[_Pending]) -> None:
        prepared: list[Prepared] = []
        whole: dict[_Whole, Pipeline] = {}
        found: dict[_Wish, Definition] = {}
        for pending in filled:
            item, done = pending.item, pending.filled
            assert done is not None
            parameters = item.options.parameters
            wish = (item.pipeline, item.deliver, tuple(sorted(parameters.items())))
            if wish not in found:
                found[wish] = await self._definitions.find(item.pipeline, item.deliver, parameters)
            definition = found[wish]
            if definition.resolved is None:
                await self._hold(pending, definition.problem, definition.mend)
                continue
            job = self._new_id()
            try:
                resolved = await self._resolved(definition, job, item, whole)
            except (ClaraedgeError, OSError) as error:
                await self._hold(pending, reason_of(error))
                continue
            prepared.append(Prepared(item=item, job=job, filled=done, resolved=resolved))
        if not prepared:
            return
        now = self._clock.now()

        def work(tx: Transaction) -> list[Outcome | Later]:
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
                await self._hold(self._pending[one.item.id], reason_of(error))
            return
        self._failpoint("submit: committed")
        for one, outcome in zip(prepared, outcomes, strict=True):
            await self._follow(one, outcome)

    async def _follow(self, one: Prepared, outcome: Outcome | Later) -> None:
        item = one.item
        match outcome:
            case Later(job=job):
                self._awaiting.setdefault(job, set()).add(item.id)
                await self._hold(
                    self._pending[item.id],
                    "the same content is being worked on already; it waits for that job's end",
                )
            case Outcome.DUPLICATE:
                self._drop(item.id)
                await self._duplicates.look()
            case Outcome.JOB:
                self._drop(item.id)
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
            self._failpoint("release: before commit")
            await self._database.write(lambda tx: records.release(tx, item.id))
            self._failpoint("release: committed")
            _log.info("%s is not as it was, or gone; looking again", item.text)
        await in_thread(remove, self._spool.folder(item.id))
        self._drop(item.id)

    async def _fail(self, pending: _Pending, reason: str, path: Path) -> None:
        item = pending.item
        target = await in_cancellable_thread(self._failures.put, item, reason, path)
        self._failpoint("fail: before commit")
        await self._failed_row(item, reason, target)
        self._failpoint("fail: committed")
        await in_thread(remove, self._spool.folder(item.id))
        self._drop(item.id)
        _log.warning("%s failed: %s; it lies in %s", item.text, reason, target)

    async def _failed_row(self, item: Claimed, reason: str, target: Path) -> None:
        now = self._clock.now()
        await self._database.write(lambda tx: records.fail(tx, item.id, reason, str(target), now))
