"""Removes orphans: containers and shared values that a crash or an outage left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError
from claraedge.jobs.operators.container import PREFIX, parse_name
from claraedge.jobs.operators.machine import Machine
from claraedge.runner.foreign import clear
from claraedge.runner.protocol import LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, LABEL_OPERATOR
from claraedge.waiting.searches import OrphanSearch

_log = logging.getLogger(__name__)


class Orphans(OrphanSearch):
    """Removes orphans, once `expect` has reported that there may be some."""

    def __init__(self, machine: Machine, is_worked_on: Callable[[str, str], bool]) -> None:
        """`is_worked_on`: whether a task executes an operator of a job."""
        super().__init__(machine.clock, expected=True)
        self._machine = machine
        self._is_worked_on = is_worked_on
        self._first = True
        self._nameless: frozenset[str] = frozenset()
        """Ids of the containers without a job that the last search found."""

    async def remove(self, active: Container[str]) -> None:
        """Removes the orphans, if a search is due; `active`: the jobs that run.

        Raises RunnerUnavailableError.
        """
        await self.run_due(lambda: self._search(active))

    async def _search(self, active: Container[str]) -> None:
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
        # A container without a job may exist for a moment, to read files of its image. It is an
        # orphan if two searches find it, or if the first search after a start does.
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
        """Removes partial containers of a killed Podman: a reserved name and a layer."""
        for name in await self._machine.runner.half_made(PREFIX):
            whose = parse_name(name)
            if whose is None:
                continue
            job, place = whose
            operators = await self._operators(job)
            # Another daemon of this user may be creating one: its job is not recorded here.
            if place < len(operators) and not self._is_worked_on(job, operators[place]):
                await self._remove_container(name, name)

    async def _operators(self, job: str) -> list[str]:
        return await self._machine.database.read(
            lambda tx: [str(row["name"]) for row in tx.rows("operators", job=job)]
        )

    async def _remove_container(self, container: str, name: str) -> None:
        try:
            await self._machine.runner.remove(container)
        except ContainerError as error:  # for example, another user's container depends on it
            _log.warning(
                "orphan container left behind", extra={"container": name, "reason": str(error)}
            )
        else:
            _log.info("orphan container removed", extra={"container": name})

    async def _remove_values(self, job: str) -> None:
        """Removes the values in shared memory of a job that does not run."""
        try:
            await clear(self._machine.runner, self._machine.values.job(job))
        except (OSError, ContainerError) as error:
            _log.warning("values left behind", extra={"job": job, "reason": str(error)})
        else:
            _log.info("orphan values removed", extra={"job": job})
        await in_thread(self._machine.values.tidy)
