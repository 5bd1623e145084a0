"""Containers and values that belong to nothing: what a crash or an outage left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError
from claraedge.jobs.machine import Machine
from claraedge.jobs.values import clear
from claraedge.runner.protocol import LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, LABEL_OPERATOR

_log = logging.getLogger(__name__)


class Strays:
    """Removes them, once somebody says that there may be some."""

    def __init__(self, machine: Machine, is_worked_on: Callable[[str, str], bool]) -> None:
        """`is_worked_on`: whether a task sees to an operator of a job, and so to its containers."""
        self._machine = machine
        self._is_worked_on = is_worked_on
        self._expected = True

    def expect(self) -> None:
        """There may be some: after an outage, or a removal that failed."""
        self._expected = True

    async def remove(self, active: Container[str]) -> None:
        """Removes those there are; `active`: the jobs that run. Raises RunnerUnavailableError."""
        if not self._expected:
            return
        await self._remove_containers()
        for job in await in_thread(self._machine.values.jobs):
            if job not in active:
                await self._remove_values(job)
        self._expected = False

    async def _remove_containers(self) -> None:
        known = await self._machine.database.read(
            lambda tx: {
                (row["job"], row["name"], str(row["attempt"]))
                for row in tx.rows("running_containers")
            }
        )
        found = await self._machine.runner.containers({LABEL_INSTANCE: self._machine.instance})
        for container in found:
            job, operator, attempt = (
                container.labels.get(label) for label in (LABEL_JOB, LABEL_OPERATOR, LABEL_ATTEMPT)
            )
            if (job, operator, attempt) in known or self._is_worked_on(job or "", operator or ""):
                continue
            try:
                await self._machine.runner.remove(container.id)
            except ContainerError as error:  # such as one that a stranger's container depends on
                _log.warning(
                    "stray container left behind",
                    extra={"container": container.name, "reason": str(error)},
                )
            else:
                _log.info("stray container removed", extra={"container": container.name})

    async def _remove_values(self, job: str) -> None:
        """Removes what lies in shared memory of a job that does not run."""
        try:
            await clear(self._machine.runner, self._machine.values.job(job))
        except (OSError, ContainerError) as error:
            _log.warning("values left behind", extra={"job": job, "reason": str(error)})
        else:
            _log.info("stray values removed", extra={"job": job})
        await in_thread(self._machine.values.release, job)
