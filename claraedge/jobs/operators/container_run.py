"""The container of an attempt while it runs: found after a restart, stopped in time, ended."""

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

#: Seconds by which the time of an end that the runner tells may be too early.
_WHOLE = 1.0
_KILLED = 128 + signal.SIGKILL
#: How long somebody else's removal of a container may take after the kill that it begins with.
_REMOVAL_CHECK = 0.2
_REMOVAL_CHECKS = 5


class ContainerRun:
    """Watches the containers of one operator, one attempt after the other."""

    def __init__(self, machine: Machine, setting: Setting, ending: asyncio.Event) -> None:
        """`ending`: the job is to end."""
        self.timed_out = False
        """Its own time was over, and it was stopped."""
        self.cut_short = False
        """It was told to end while it ran: what it wrote is half, whatever its exit code says."""
        self._machine = machine
        self._setting = setting
        self._ending = ending

    async def find(self, attempt: int) -> Container | None:
        """The container of an attempt; None: it is gone. Raises RunnerUnavailableError."""
        found = await self._machine.runner.containers(
            {
                LABEL_INSTANCE: self._machine.instance,
                **self._setting.labels,
                LABEL_ATTEMPT: str(attempt),
            }
        )
        return found[0] if found else None

    def may_adopt(self, container: Container, record: OperatorRecord) -> bool:
        """Whether a container that was found runs, or came to its end by itself.

        A machine that goes down ends the processes in a container one by one, and what is left of
        an operator may call that a success. So nothing that ended unseen before a restart of the
        machine counts.
        """
        if container.phase is Phase.STOPPED:
            return record.boot == self._machine.boot
        return container.phase is Phase.RUNNING

    def adopt(self, container: Container, record: OperatorRecord) -> None:
        """Takes up a container that an earlier daemon started."""
        # Where its end was decided before, it was perhaps told so before.
        self.timed_out = self._came_late(container, record)
        self.cut_short = self._ending.is_set() or self.timed_out

    async def end(self, container: str, record: OperatorRecord, *, ended: bool = False) -> Exit:
        """Its end. It is stopped where its job is to end, or its own time is over.

        `ended`: by itself, before it was adopted: its time is not over, whatever it is now. Raises
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
                told = await self._machine.runner.stop(container, self._machine.grace)
                self.cut_short |= told or self.timed_out
            return await waiting
        finally:
            waiting.cancel()
            ending.cancel()
            await asyncio.gather(waiting, ending, return_exceptions=True)

    def _left(self, record: OperatorRecord) -> float | None:
        """Seconds that this attempt may still take; None: as long as its job."""
        limit = self._setting.operator.timeout
        if limit is None or record.began is None:
            return None
        return max(0.0, record.began + limit - self._machine.clock.elapsed())

    def _came_late(self, container: Container, record: OperatorRecord) -> bool:
        """Whether what has ended while nobody looked had taken longer than its own time."""
        limit, began = self._setting.operator.timeout, record.began
        if limit is None or began is None or container.ended is None:
            return False
        took = ran_until(moment(self._machine.clock), container.ended, began) - began
        return took + _WHOLE > limit

    async def _is_being_removed(self, attempt: int) -> bool:
        """Whether the container goes away by itself: who removes one kills it first."""
        if self._ending.is_set() or self.timed_out:
            return False
        for _ in range(_REMOVAL_CHECKS):
            await asyncio.sleep(_REMOVAL_CHECK)
            if await self.find(attempt) is None:
                return True
        return False
