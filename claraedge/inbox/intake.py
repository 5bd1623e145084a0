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
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery import reports
from claraedge.delivery.plan import plan
from claraedge.delivery.publish import publish, published, write_json
from claraedge.delivery.slug import folder_name, slug
from claraedge.delivery.spool import Spool
from claraedge.delivery.trees import move, remove
from claraedge.errors import ClaraedgeError
from claraedge.ids import NewId
from claraedge.inbox import records
from claraedge.inbox.claim import Faulty, Gone, Held, Secured, Unsettled, secure
from claraedge.inbox.definitions import Definition, Definitions
from claraedge.inbox.model import Claimed, Item, ItemState, name_of
from claraedge.inbox.submit import (
    PipelineChangedError,
    Prepared,
    Resolved,
    fill_payload,
    submit,
)
from claraedge.inbox.survey import survey
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline
from claraedge.store.database import Database, Transaction

_log = logging.getLogger(__name__)

_AT_ONCE = 4
_FIRST_RETRY = 2.0
_LAST_RETRY = 60.0

Failpoint: TypeAlias = Callable[[str], None]


@dataclass(slots=True)
class _Pending:
    item: Claimed
    due: float = 0.0
    wait: float = field(default_factory=lambda: _FIRST_RETRY)
    moved: bool = False
    """No more in the inbox under its name, which may be another entry's by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    item: Claimed
    files: Sequence[PayloadFile]


class Intake:
    """The items between their claim and their job. One task calls `advance`."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        config: Config,
        clock: Clock,
        new_id: NewId,
        definitions: Definitions,
        on_submitted: Callable[[str], None],
        failpoint: Failpoint,
        applied: Callable[[Pipeline], Awaitable[Pipeline]],
    ) -> None:
        self._database = database
        self._tree = tree
        self._failed = config.failed_dir
        self._settle = config.inbox.settle_seconds
        self._spool = Spool(config.state_dir)
        self._clock = clock
        self._new_id = new_id
        self._definitions = definitions
        self._on_submitted = on_submitted
        self._failpoint = failpoint
        self._applied = applied
        self._uid = os.geteuid()
        self._pending: dict[str, _Pending] = {}

    # --- what is known --------------------------------------------------------------------------

    def taken(self) -> set[tuple[Path, bytes]]:
        """Entries of the inbox that are being taken: no other items."""
        return {(p.item.folder, p.item.name) for p in self._pending.values() if not p.moved}

    def next_due(self) -> float | None:
        """When an item can go on, or None where there is none."""
        return min((p.due for p in self._pending.values()), default=None)

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

    # --- at start -------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Finds the items that a stop or a crash left between two steps."""
        await in_thread(files.make_folders, self._spool.root)
        try:
            await in_thread(files.make_folders, self._failed, 0o755)
        except OSError as error:
            _log.warning(
                "%s cannot be made: %s; failures wait for it", self._failed, error.strerror
            )
        for item in await self._database.read(records.claimed):
            self._pending[item.id] = _Pending(item)
        await self._sweep()

    async def _sweep(self) -> None:
        for name in await in_thread(os.listdir, self._spool.root):
            state = await self._database.read(lambda tx, item=name: records.state(tx, item))  # type: ignore[misc]
            folder = self._spool.folder(name)
            try:
                if state in (ItemState.DELIVERED, ItemState.FAILED):
                    await in_thread(remove, folder)
                elif state is None:
                    await in_cancellable_thread(self._keep_unknown, folder)
            except OSError as error:
                _log.warning("%s in the spool cannot be put away: %s", name, error)

    def _keep_unknown(self, flag: CancelFlag, folder: Path) -> None:
        """The state knows nothing of it: an older one was restored. It is somebody's data."""
        if not any(names for _, _, names in os.walk(folder)):
            remove(folder)
            return
        target = self._failed / "unknown"
        files.make_folders(target, 0o755)
        move(folder, target / folder.name, flag=flag)
        _log.warning(
            "the state does not know %s in the spool; it lies in %s now", folder.name, target
        )

    # --- taking in ------------------------------------------------------------------------------

    async def claim(self, items: Sequence[Claimed]) -> None:
        """Records the claims, together. Raises StorageFullError where that cannot be."""
        now = self._clock.now()

        def work(tx: Transaction) -> None:
            for item in items:
                records.claim(tx, item, now)

        self._failpoint("claim: before row")
        await self._database.write(work)
        for item in items:
            self._pending[item.id] = _Pending(item)
        self._failpoint("claim: row")

    async def advance(self, most: int) -> None:
        """Takes items that are due, in order, as far as they go."""
        now = self._clock.elapsed()
        batch = [p for p in self._pending.values() if p.due <= now][:most]
        slots = asyncio.Semaphore(_AT_ONCE)

        async def fill(pending: _Pending) -> _Filled | None:
            async with slots:
                try:
                    return await self._fill(pending)
                except (OSError, ClaraedgeError, sqlite3.OperationalError) as error:
                    await self._hold(pending, _text(error))
                    return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fill(pending)) for pending in batch]
        await self._submit([result for task in tasks if (result := task.result()) is not None])

    async def _fill(self, pending: _Pending) -> _Filled | None:
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
                pending.due = self._clock.elapsed() + self._settle
            case Faulty(reason=reason, path=path):
                await self._fail(pending, reason, path)
            case Secured(path=path):
                filled = await in_cancellable_thread(fill_payload, item, path, self._tree)
                self._failpoint("submit: payload")
                content = await in_thread(self._content, path)
                if path == self._spool.raw(item.id, item.name) and content != item.content:
                    pending.item = replace(item, content=content)
                    pending.due = self._clock.elapsed() + self._settle
                    return None
                return _Filled(item=item, files=filled)
        return None

    def _content(self, path: Path) -> str:
        return survey(path, self._uid).content

    # --- the ends -------------------------------------------------------------------------------

    async def _submit(self, filled: Iterable[_Filled]) -> None:
        prepared = []
        whole: dict[str, Pipeline] = {}
        for secured in filled:
            item = secured.item
            pending = self._pending[item.id]
            definition = await self._definitions.find(item.pipeline, item.deliver)
            if definition.resolved is None:
                await self._hold(pending, definition.problem, definition.mend)
                continue
            job = self._new_id()
            try:
                resolved = await self._resolved(definition, job, item.deliver, whole)
            except (ClaraedgeError, OSError) as error:
                await self._hold(pending, _text(error))
                continue
            prepared.append(Prepared(item=item, job=job, files=secured.files, resolved=resolved))
        if not prepared:
            return
        now = self._clock.now()

        def work(tx: Transaction) -> None:
            for one in prepared:
                submit(tx, one, now)

        self._failpoint("submit: before commit")
        try:
            await self._database.write(work)
        except PipelineChangedError:
            for one in prepared:  # rare: all are resolved again, at once
                self._pending[one.item.id].due = self._clock.elapsed()
            return
        except (ClaraedgeError, sqlite3.OperationalError) as error:
            for one in prepared:
                await self._hold(self._pending[one.item.id], _text(error))
            return
        self._failpoint("submit: committed")
        for one in prepared:
            del self._pending[one.item.id]
            _log.info(
                "%s became a job",
                one.item.text,
                extra={"job": one.job, "item": one.item.id, "pipeline": one.item.pipeline},
            )
            self._on_submitted(one.job)

    async def _resolved(
        self, definition: Definition, job: str, deliver: tuple[str, ...], whole: dict[str, Pipeline]
    ) -> Resolved:
        """The pipeline of a job, with what images say themselves; `whole` keeps those of a batch.

        Raises PipelineLoadError, InvalidRequestError where `deliver` names what it does not have.
        """
        resolved = await self._definitions.for_job(definition, job)
        key = resolved.definition if definition.per_job is None else job
        if key not in whole:
            whole[key] = await self._applied(resolved.pipeline)
        plan(whole[key], deliver)
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
        failure = await in_thread(self._failure, item)
        if failure is not None:  # a crash came between its failure and the row that says so
            await self._failed_row(item, "failed before; see reason.json", failure)
        else:
            await self._database.write(lambda tx: records.release(tx, item.id))
            _log.info("%s is not as it was, or gone; looking again", item.text)
        await in_thread(remove, self._spool.folder(item.id))
        del self._pending[item.id]

    async def _fail(self, pending: _Pending, reason: str, path: Path) -> None:
        item = pending.item
        target = await in_cancellable_thread(self._publish_failure, item, reason, path)
        self._failpoint("fail: before commit")
        await self._failed_row(item, reason, target)
        self._failpoint("fail: committed")
        await in_thread(remove, self._spool.folder(item.id))
        del self._pending[item.id]
        _log.warning("%s failed: %s; it lies in %s", item.text, reason, target)

    async def _failed_row(self, item: Claimed, reason: str, target: Path) -> None:
        now = self._clock.now()
        await self._database.write(lambda tx: records.fail(tx, item.id, reason, str(target), now))

    # --- failures, in threads -------------------------------------------------------------------

    def _failure_folder(self, item: Claimed) -> str:
        return f"{slug(item.pipeline)}/{folder_name(item.text, item.id)}"

    def _failure(self, item: Claimed) -> Path | None:
        """Where the item lies if it failed already, whole."""
        target = published(
            self._failed, self._failure_folder(item), item.id, marker="reason.json", key="item_id"
        )
        if target is not None and os.path.lexists(target / "original" / name_of(item.name)):
            return target
        return None

    def _publish_failure(self, flag: CancelFlag, item: Claimed, reason: str, path: Path) -> Path:
        def build(building: Path) -> None:
            now = self._clock.now()
            document = reports.item_failure(
                item.id, item.name, str(item.folder), item.first_seen, reason, now
            )
            write_json(building / "reason.json", document)

        target = publish(
            self._failed,
            self._failure_folder(item),
            item.id,
            marker="reason.json",
            key="item_id",
            build=build,
            failpoint=self._failpoint,
        )
        files.make_folders(target / "original", 0o755)
        move(path, target / "original" / name_of(item.name), flag=flag)
        self._failpoint("fail: moved")
        return target


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{where}"
    return str(error)
