"""Supervises the container of an attempt: adopts it after a restart, stops it, awaits its end."""

from __future__ import annotations

import asyncio
import signal

from claraedge.clock import moment
from claraedge.jobs.model import OperatorRecord
from claraedge.jobs.operators.attempt import Setting
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.runtime import ran_until
from claraedge.runner.protocol import (
    LABEL_ATTEMPT,
    LABEL_INSTANCE,
    Container,
    Exit,
    ExitCause,
    Phase,
)

#: Seconds by which an end time that the runner reports may be too early.
_WHOLE = 1.0
_KILLED = 128 + signal.SIGKILL
#: Seconds between checks, and their number, for another program's removal of a container to finish
#: after the kill with which it begins.
_REMOVAL_CHECK = 0.2
_REMOVAL_CHECKS = 5


class ContainerRun:
    """Supervises the containers of one operator, one attempt after the other."""

    def __init__(self, machine: Machine, setting: Setting, ending: asyncio.Event) -> None:
        """`ending` is set when the job is to end."""
        self.timed_out = False
        """Whether it exceeded its own time-out and was stopped."""
        self.cut_short = False
        """Whether it was asked to stop, so that its output is incomplete for any exit code."""
        self._machine = machine
        self._setting = setting
        self._ending = ending

    async def find(self, attempt: int) -> Container | None:
        """Returns the container of an attempt, or None. Raises RunnerUnavailableError."""
        found = await self._machine.runner.containers(
            {
                LABEL_INSTANCE: self._machine.instance,
                **self._setting.labels,
                LABEL_ATTEMPT: str(attempt),
            }
        )
        return found[0] if found else None

    def may_adopt(self, container: Container, record: OperatorRecord) -> bool:
        """Returns whether a found container runs, or ended by itself.

        When the machine shuts down, it ends the processes of a container one by one, and the
        remaining part of an operator may report success. So a container that ended unobserved
        before a restart of the machine does not count.
        """
        if container.phase is Phase.STOPPED:
            return record.boot == self._machine.boot
        return container.phase is Phase.RUNNING

    def adopt(self, container: Container, record: OperatorRecord) -> None:
        """Adopts a container that an earlier daemon started."""
        # If its end was decided earlier, it may already have been asked to stop.
        self.timed_out = self._came_late(container, record)
        self.cut_short = self._ending.is_set() or self.timed_out

    async def end(self, container: str, record: OperatorRecord, *, ended: bool = False) -> Exit:
        """Waits for the container's end; stops it if its job ends, or its own time-out is reached.

        `ended`: it ended by itself before it was adopted, so no time-out applies. Raises
        RunnerUnavailableError.
        """
        end = await self._waited(container, None if ended else self._left(record))
        if (
            end.code == _KILLED
            and not end.out_of_memory
            and await self._is_being_removed(record.attempt)
        ):
            return Exit(cause=ExitCause.VANISHED)
        return end

    async def _waited(self, container: str, left: float | None) -> Exit:
        waiting = asyncio.create_task(self._machine.runner.wait(container))
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({waiting, ending}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                self.timed_out = not ending.done()
                stopped = await self._machine.runner.stop(container, self._machine.grace)
                self.cut_short |= stopped or self.timed_out
            return await waiting
        finally:
            waiting.cancel()
            ending.cancel()
            await asyncio.gather(waiting, ending, return_exceptions=True)

    def _left(self, record: OperatorRecord) -> float | None:
        """Returns the seconds left for this attempt; None: only the job's time-out applies."""
        limit = self._setting.operator.timeout
        if limit is None or record.began is None:
            return None
        return max(0.0, record.began + limit - self._machine.clock.elapsed())

    def _came_late(self, container: Container, record: OperatorRecord) -> bool:
        """Returns whether a container that ended while no daemon ran had exceeded its time-out."""
        limit, began = self._setting.operator.timeout, record.began
        if limit is None or began is None or container.ended is None:
            return False
        took = ran_until(moment(self._machine.clock), container.ended, began) - began
        return took + _WHOLE > limit

    async def _is_being_removed(self, attempt: int) -> bool:
        """Returns whether another program is removing the container: a removal kills it first."""
        if self._ending.is_set() or self.timed_out:
            return False
        for _ in range(_REMOVAL_CHECKS):
            await asyncio.sleep(_REMOVAL_CHECK)
            if await self.find(attempt) is None:
                return True
        return False
