"""The record of one deployment: each change is in the database before it is in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from claraedge.clock import Clock
from claraedge.deployments import records
from claraedge.deployments.model import (
    Deployment,
    DeploymentPhase,
    DeploymentPlan,
    DeploymentStatus,
    ExecutableRecord,
    Fault,
)
from claraedge.store.database import Database, Transaction

_log = logging.getLogger(__name__)


class Recorded:
    """A deployment that has not ended, as it is recorded."""

    def __init__(
        self,
        deployment: Deployment,
        database: Database,
        clock: Clock,
        on_change: Callable[[Deployment], None],
    ) -> None:
        """`on_change` is called after each change, with the changed deployment."""
        self._deployment = deployment
        self._on_change = on_change
        self._database = database
        self._clock = clock
        self._writes: set[asyncio.Task[None]] = set()

    @property
    def deployment(self) -> Deployment:
        """The deployment as it is recorded."""
        return self._deployment

    @deployment.setter
    def deployment(self, changed: Deployment) -> None:
        self._deployment = changed
        self._on_change(changed)

    def of(self, executable: str) -> ExecutableRecord:
        """Returns the record of an executable."""
        return self.deployment.executables[executable]

    def undeployed(self) -> None:
        """Applies what `records.undeploy` has recorded."""
        self.deployment = replace(self.deployment, wanted=False, update=None)

    def updating(self, plan: DeploymentPlan) -> None:
        """Applies what `records.set_pending` has recorded."""
        self.deployment = replace(self.deployment, update=plan)

    async def set_phase(self, phase: DeploymentPhase, *faults: Fault) -> None:
        """Records the phase."""
        await self._write(records.set_phase, phase, self._clock.now(), faults)
        self.deployment = replace(self.deployment, phase=phase, faults=faults)

    async def set_provisioning(self) -> None:
        """Records that all executables are started from the beginning."""
        now = self._clock.now()

        def work(tx: Transaction, deployment: str) -> None:
            for executable in self.deployment.executables:
                records.set_over(tx, deployment, executable, None, "")
            records.set_phase(tx, deployment, DeploymentPhase.PROVISIONING, now)

        await self._write(work)
        for executable in self.deployment.executables:
            self._change(executable, over=None, reason="")
        self.deployment = replace(self.deployment, phase=DeploymentPhase.PROVISIONING, faults=())

    async def set_started(self) -> None:
        """Records that all executables that are not over were up."""
        now = self._clock.now()
        up = [e for e, record in self.deployment.executables.items() if record.over is None]

        def work(tx: Transaction, deployment: str) -> None:
            for executable in up:
                records.set_up(tx, deployment, executable)
            records.set_phase(tx, deployment, DeploymentPhase.SUCCEEDED, now)

        await self._write(work)
        for executable in up:
            self._change(executable, was_up=True)
        self.deployment = replace(self.deployment, phase=DeploymentPhase.SUCCEEDED, faults=())

    async def set_plan(
        self,
        plan: DeploymentPlan,
        phase: DeploymentPhase,
        images: Mapping[str, str],
        *faults: Fault,
    ) -> None:
        """Records the plan after an update, with the new images: executable -> id of the image."""
        now = self._clock.now()

        def work(tx: Transaction, deployment: str) -> None:
            records.set_plan(tx, deployment, plan, phase, now, faults)
            for executable, image in images.items():
                records.set_image(tx, deployment, executable, image)

        await self._write(work)
        for executable, image in images.items():
            self._change(executable, image=image)
        self.deployment = replace(
            self.deployment, plan=plan, update=None, phase=phase, faults=faults
        )

    async def set_images(self, images: Mapping[str, str]) -> None:
        """Records the images of executables: id of the executable -> id of the image."""

        def work(tx: Transaction, deployment: str) -> None:
            for executable, image in images.items():
                records.set_image(tx, deployment, executable, image)

        await self._write(work)
        for executable, image in images.items():
            self._change(executable, image=image)

    async def set_gpus(self, gpus: Mapping[str, tuple[str, ...]]) -> None:
        """Records the GPUs of executables, and that the deployment has its memory."""
        now = self._clock.now()

        def work(tx: Transaction, deployment: str) -> None:
            records.set_reserved(tx, deployment, now)
            for executable, own in gpus.items():
                records.set_gpus(tx, deployment, executable, own)

        await self._write(work)
        for executable, own in gpus.items():
            self._change(executable, gpus=own)

    async def set_over(self, executable: str, over: DeploymentStatus | None, reason: str) -> None:
        """Records that an executable is not started again; None: that it is, after all."""
        await self._write(records.set_over, executable, over, reason)
        self._change(executable, over=over, reason=reason)

    def restarted(self, executable: str, reason: str) -> None:
        """Records that an executable is started again; nothing waits for that."""
        record = self.of(executable)
        self._change(executable, restarts=record.restarts + 1, reason=reason)
        self._later(self._write(records.set_restarted, executable, reason))

    def failed(self, executable: str, reason: str) -> None:
        """Records that an executable is not started again; nothing waits for that."""
        self._later(self.set_over(executable, DeploymentStatus.ERROR, reason))

    async def close(self) -> None:
        """Waits for what is being recorded."""
        await asyncio.gather(*self._writes, return_exceptions=True)

    def _change(self, executable: str, **changes: Any) -> None:
        changed = replace(self.of(executable), **changes)
        executables = {**self.deployment.executables, executable: changed}
        self.deployment = replace(self.deployment, executables=executables)

    async def _write(self, work: Callable[..., None], *values: object) -> None:
        await self._database.write(lambda tx: work(tx, self.deployment.id, *values))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        writing = asyncio.ensure_future(work)
        self._writes.add(writing)
        writing.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            extra = {"deployment": self.deployment.id, "reason": str(error)}
            _log.warning("a change of an executable was not recorded", extra=extra)
