"""Containers and values that belong to nothing: what a crash or an outage left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError
from claraedge.jobs.operators.container import PREFIX, told_by
from claraedge.jobs.operators.machine import Machine
from claraedge.runner.foreign import clear
from claraedge.runner.protocol import LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, LABEL_OPERATOR

_log = logging.getLogger(__name__)


#: Seconds after which is looked once more: a Podman that was left in the middle of a call, by a
#: daemon that was killed or a call that took too long, may make its container after the first look.
LATE = 5.0


class Orphans:
    """Removes them, once somebody says that there may be some."""

    def __init__(self, machine: Machine, is_worked_on: Callable[[str, str], bool]) -> None:
        """`is_worked_on`: whether a task sees to an operator of a job, and so to its containers."""
        self._machine = machine
        self._is_worked_on = is_worked_on
        self._expected = True
        self._late: float | None = None
        """BOOTTIME of the second look."""
        self._first = True
        self._nameless: frozenset[str] = frozenset()
        """Containers of no job that the last look found."""

    def expect(self) -> None:
        """There may be some: after an outage, or a removal that failed."""
        self._expected = True

    def soonest(self) -> float | None:
        """Seconds until it is time to look; None: there is no need."""
        if self._expected:
            return 0.0
        if self._late is None:
            return None
        return max(0.0, self._late - self._machine.clock.elapsed())

    async def remove(self, active: Container[str]) -> None:
        """Removes those there are; `active`: the jobs that run. Raises RunnerUnavailableError."""
        if self.soonest() != 0.0:
            return
        first, self._expected = self._expected, False
        try:
            await self._look(active)
        except BaseException:
            self._expected = True
            raise
        self._late = self._machine.clock.elapsed() + LATE if first else None

    async def _look(self, active: Container[str]) -> None:
        await self._remove_containers()
        await self._remove_halves()
        for job in await in_thread(self._machine.values.jobs):
            if job not in active:
                await self._remove_values(job)

    async def _remove_containers(self) -> None:
        known = await self._machine.database.read(
            lambda tx: {
                (row["job"], row["name"], str(row["attempt"]))
                for row in tx.rows("running_containers")
            }
        )
        found = await self._machine.runner.containers({LABEL_INSTANCE: self._machine.instance})
        # One of no job is there to read files of its image, for a moment: found twice, it is left.
        left, first = self._nameless, self._first
        self._nameless = frozenset(c.id for c in found if LABEL_JOB not in c.labels)
        self._first = False
        for container in found:
            if container.id in self._nameless and container.id not in left and not first:
                continue
            job, operator, attempt = (
                container.labels.get(label) for label in (LABEL_JOB, LABEL_OPERATOR, LABEL_ATTEMPT)
            )
            if (job, operator, attempt) in known or self._is_worked_on(job or "", operator or ""):
                continue
            await self._remove_container(container.id, container.name)

    async def _remove_halves(self) -> None:
        """Removes what a Podman that was killed had made of a container: a name and its layer."""
        for name in await self._machine.runner.half_made(PREFIX):
            whose = told_by(name)
            if whose is None:
                continue
            job, place = whose
            operators = await self._operators(job)
            # Another daemon of this user may be about to make one: that job is not known here.
            if place < len(operators) and not self._is_worked_on(job, operators[place]):
                await self._remove_container(name, name)

    async def _operators(self, job: str) -> list[str]:
        return await self._machine.database.read(
            lambda tx: [str(row["name"]) for row in tx.rows("operators", job=job)]
        )

    async def _remove_container(self, container: str, name: str) -> None:
        try:
            await self._machine.runner.remove(container)
        except ContainerError as error:  # such as one that a stranger's container depends on
            _log.warning(
                "stray container left behind", extra={"container": name, "reason": str(error)}
            )
        else:
            _log.info("stray container removed", extra={"container": name})

    async def _remove_values(self, job: str) -> None:
        """Removes what lies in shared memory of a job that does not run."""
        try:
            await clear(self._machine.runner, self._machine.values.job(job))
        except (OSError, ContainerError) as error:
            _log.warning("values left behind", extra={"job": job, "reason": str(error)})
        else:
            _log.info("stray values removed", extra={"job": job})
        await in_thread(self._machine.values.release, job)
