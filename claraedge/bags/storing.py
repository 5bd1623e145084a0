"""Moves bags of a job into its payload, each exactly once, also across crashes and full disks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from claraedge.bags import records
from claraedge.bags.folder import BagFolder, FoundBag
from claraedge.bags.index import BagIndex, NoBagError, read_index
from claraedge.bags.model import Bag, BagStatus, TimeRange
from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.errors import (
    BagJobFailedError,
    ClaraedgeError,
    FileNotFoundInPayloadError,
    PayloadNotFoundError,
    PayloadStateError,
    StorageFullError,
)
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.fs.walking import holds_files
from claraedge.packages.ids import NewKindId
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.payloads import Payloads
from claraedge.runner.foreign import clear
from claraedge.runner.protocol import Runner
from claraedge.store.database import Database, Transaction
from claraedge.store.unknown import Unknown

_log = logging.getLogger(__name__)


class BagStore:
    """Stores the bags of all jobs."""

    def __init__(
        self,
        database: Database,
        payloads: Payloads,
        clock: Clock,
        new_id: NewKindId,
        runner: Runner,
        root: Path,
        unknown: Unknown,
    ) -> None:
        """`root` gets one folder per job; `unknown`, those of jobs that are not known."""
        self.database = database
        self.clock = clock
        self.root = root
        self._payloads = payloads
        self._new_id = new_id
        self._runner = runner
        self._unknown = unknown
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def folder(self, job: str) -> BagFolder:
        """Returns the folder of a job."""
        return BagFolder(self.root / job)

    async def collect(
        self, job: str, *, ended: bool, within: TimeRange | None = None, closed: bool = True
    ) -> None:
        """Stores the bags of a job that nothing writes to.

        `ended`: whether no container of the job exists. `within`: only bags that may have messages
        in it. `closed`: False for only those that an earlier call has taken. Calls for one job
        follow each other. Raises StorageFullError or BagJobFailedError if some could not be stored;
        call it again.
        """
        lock = self._locks.setdefault(job, asyncio.Lock())
        folder = self.folder(job)
        async with lock:
            try:
                await self._store_taken(job, folder)
                found = await in_thread(partial(folder.written, ended=ended)) if closed else ()
                for written in found:
                    if within is None or await in_thread(_is_within, written, within):
                        await in_thread(folder.take, written, self._new_id("bag"))
                await self._store_taken(job, folder)
            except OSError as error:
                text = f"{error.filename or folder.root}: {error.strerror}"
                if files.is_full(error):
                    raise StorageFullError(
                        f"{text}; free some space there, then its bags are stored"
                    ) from error
                raise BagJobFailedError(
                    f"bags of the job {job} cannot be stored: {text}; it is tried again"
                ) from error

    async def _store_taken(self, job: str, folder: BagFolder) -> None:
        """Stores all bags that were taken; raises the first error once all others are stored."""
        failure: Exception | None = None
        for found in await in_thread(folder.taken):
            try:
                await self._store(job, folder, found)
            except (ClaraedgeError, OSError) as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def finish(self, job: str) -> None:
        """Stores the bags of an ended job that were taken before a start of the daemon, and removes
        its folder, unless bags are kept there for later.

        If the database does not know the job, its folder is moved to the one for unknown files.
        Raises as `collect` does, and OSError.
        """
        if not await self.database.read(lambda tx: records.exists(tx, job)):
            await in_thread(self._put_aside, self.folder(job).root)
            return
        await self.collect(job, ended=False, closed=False)
        await self.tidy(job)

    def _put_aside(self, folder: Path) -> None:
        if files.has_foreign(folder) or holds_files(folder):
            self._unknown.put(folder)
        else:
            remove(folder)

    async def payload_of(self, job: str) -> str:
        """Returns the payload of a job, which is created where it has none."""
        found = await self.database.read(lambda tx: records.get(tx, job))
        if found.payload:
            return found.payload
        payload = await self._payloads.create(
            {
                "claraedge.bag-job": found.id,
                "claraedge.bag-job-name": found.name,
                "claraedge.deployment": found.deployment,
            },
            lambda tx, payload: records.set_payload(tx, job, payload),
        )
        return payload.id

    async def delete(self, bag: Bag) -> None:
        """Deletes a bag with its content."""
        if bag.payload:
            with contextlib.suppress(PayloadNotFoundError, FileNotFoundInPayloadError):
                file, _ = await self._payloads.find(bag.payload, bag.name)
                if file.name == bag.name:
                    await self._payloads.remove_file(bag.payload, bag.name)
        await self.database.write(lambda tx: records.drop_bag(tx, bag.id))

    async def tidy(self, job: str) -> None:
        """Removes the folder of a job that has ended, unless bags are kept there for later."""
        folder = self.folder(job)
        if await in_thread(lambda: folder.written(ended=True) or folder.taken()):
            return
        try:
            await clear(self._runner, folder.root)
        except (ClaraedgeError, OSError) as error:
            _log.warning(
                "folder of a bag job left behind", extra={"job": job, "reason": str(error)}
            )

    async def drop_old(self) -> Sequence[str]:
        """Removes the records of the oldest jobs that have ended, have no bags, and keep none.

        Returns their ids.
        """
        old = await self.database.read(records.old)
        gone = await in_thread(lambda: [job for job in old if not self.folder(job).root.exists()])
        if gone:
            await self.database.write(lambda tx: records.drop(tx, gone))
        return gone

    async def _store(self, job: str, folder: BagFolder, found: FoundBag) -> None:
        bag = Bag(
            id=found.id,
            job=job,
            name=found.name,
            payload="",
            status=BagStatus.UPLOADING,
            size=await in_thread(lambda: found.path.stat().st_size),
            created=self.clock.now(),
        )
        if bag.size == 0:  # it was cut off before anything was written
            await in_thread(folder.remove, found)
            return

        def add(tx: Transaction) -> Bag:
            records.add_bag(tx, bag)
            return records.get_bag(tx, bag.id)

        recorded = await self.database.write(add)
        if recorded.status is BagStatus.UPLOADING:
            if await in_thread(files.has_foreign, found.path.parent):
                await self._runner.reclaim(found.path.parent)
            try:
                await self._link(replace(recorded, size=bag.size), found)
            except (ClaraedgeError, OSError) as error:
                why = str(error)
                with contextlib.suppress(ClaraedgeError):
                    await self.database.write(lambda tx: records.set_reason(tx, bag.id, why))
                raise
        await in_thread(folder.remove, found)

    async def _link(self, bag: Bag, found: FoundBag) -> None:
        try:
            index = await in_thread(read_index, found.path)
            status, reason = BagStatus.UPLOADED, ""
        except NoBagError as error:
            index = BagIndex(started=None, ended=None, messages=0)
            status, reason = BagStatus.ERROR, _advice(found, error)

        def also(tx: Transaction, file: PayloadFile) -> None:
            stored = replace(
                bag,
                name=file.name,
                payload=payload,
                status=status,
                reason=reason,
                size=file.size,
                started=index.started,
                ended=index.ended,
                messages=index.messages,
            )
            records.set_stored(tx, stored)

        while True:
            payload = await self.payload_of(bag.job)
            try:
                await self._payloads.add_link(
                    payload, found.path, found.name, key=f"{bag.id}-0", also=also
                )
            except (PayloadNotFoundError, PayloadStateError):  # somebody has deleted it
                await self.database.write(lambda tx: records.set_payload(tx, bag.job, ""))
            else:
                return


def _advice(found: FoundBag, error: NoBagError) -> str:
    """Returns why a bag is no whole one, and what to do."""
    why = "its recording was cut off" if not found.whole else f"it is no whole bag: {error}"
    return (
        f"{why}; download it, and run `rosbag reindex {found.name}`, which saves the messages that"
        " it has"
    )


def _is_within(path: Path, within: TimeRange) -> bool:
    """Returns whether a bag may have messages in a range; one without an index may."""
    try:
        index = read_index(path)
    except NoBagError:
        return True
    if index.started is None or index.ended is None:
        return False
    return index.started <= within.end and index.ended >= within.start
