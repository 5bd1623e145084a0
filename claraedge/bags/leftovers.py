"""Finishes what an earlier daemon left of jobs that have ended, or that the database has lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Sequence
from pathlib import Path

from claraedge.bags.storing import BagStore
from claraedge.blocking import in_thread
from claraedge.bugs import known
from claraedge.packages.ids import is_id
from claraedge.waiting.backoff import Backoff

_log = logging.getLogger(__name__)

#: Seconds between two attempts: the first pause, and the longest.
_PAUSES = (1.0, 600.0)


class BagLeftovers:
    """The folders of jobs without a recorder: an error of one ends nothing else."""

    def __init__(self, store: BagStore) -> None:
        self._store = store
        self._due = asyncio.Event()

    def expect(self) -> None:
        """Lets `run` begin. Call once no container of such a job exists."""
        self._due.set()

    async def run(self, live: Container[str]) -> None:
        """Finishes all folders, those that fail after growing pauses again; `live`: jobs with a
        recorder, which are left alone.
        """
        await self._due.wait()
        pauses = Backoff(*_PAUSES)
        folders = await self._listed()
        while folders is None or (
            folders := [job for job in folders if job not in live and not await self._finish(job)]
        ):
            await asyncio.sleep(pauses.next())
            folders = await self._listed() if folders is None else folders

    async def _listed(self) -> Sequence[str] | None:
        """Returns the jobs that have a folder; None if that cannot be read now."""
        try:
            return await in_thread(_jobs, self._store.root)
        except OSError as error:
            self._warn(error, str(self._store.root))
            return None

    async def _finish(self, job: str) -> bool:
        try:
            await self._store.finish(job)
        except Exception as error:  # noqa: BLE001 - it fails alone
            self._warn(known(error, "a bag job that has ended", job=job), job)
            return False
        return True

    def _warn(self, error: Exception, what: str) -> None:
        extra = {"job": what, "reason": str(error)}
        _log.warning("bags of an earlier start are stored later", extra=extra)


def _jobs(root: Path) -> Sequence[str]:
    names = [path.name for path in root.iterdir()] if root.is_dir() else []
    return sorted(name for name in names if is_id(name, "bagjob"))
