"""Runs operators, each in its own task, and creates containers ahead of their turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace

from claraedge.bugs import known
from claraedge.errors import StateFolderError
from claraedge.jobs.engine.active import ActiveJob, Running
from claraedge.jobs.engine.context import OUTAGES, EngineContext
from claraedge.jobs.model import OperatorRecord, OperatorStatus
from claraedge.jobs.operators.attempt import Setting
from claraedge.jobs.operators.execution import Execution
from claraedge.jobs.scheduling.budget import Candidate

_log = logging.getLogger(__name__)

#: Containers created ahead, per operator that may run at once.
AHEAD = 2
#: Time limit, in seconds, for removing prepared containers when the daemon stops.
_LAST = 3.0


class Workers:
    """Runs operators, and wakes the engine after each change."""

    def __init__(self, context: EngineContext, slots: int) -> None:
        """`slots`: number of operators that may run at once."""
        self._context = context
        self._slots = slots

    def begin(self, active: ActiveJob, candidate: Candidate, gpus: tuple[str, ...]) -> None:
        """Starts a task that executes an admitted operator."""
        name = candidate.operator
        devices = gpus[: candidate.requests.devices]
        execution, unfit = active.prepared.pop(name, None), None
        if execution is not None and not execution.fits(active.attempts()):
            execution, unfit = None, execution
        if execution is None:
            execution = self._execution(active, name, devices)
        if active.ending is not None:
            execution.end()  # its end was decided meanwhile
        active.running[name] = Running(execution=execution, candidate=candidate, gpus=devices)
        if devices:
            self._context.given[active.job.id, name] = devices
        self._context.tasks.begin(
            self._operator(active, name, execution, unfit), f"{active.job.id}/{name}"
        )

    def _execution(self, active: ActiveJob, name: str, devices: tuple[str, ...]) -> Execution:
        operator = active.pipeline.operator(name)
        assert operator is not None, "it is one of the pipeline's"
        setting = Setting(
            job=active.job,
            pipeline=active.pipeline,
            operator=operator,
            requests=active.demands.operators[name],
            upstream=active.attempts(),
            devices=devices,
            lookups=active.lookups,
            service_lease=active.require_service_lease,
        )
        record = replace(active.operators[name], not_before=None)

        def changed(changed: OperatorRecord) -> None:
            active.note(changed)
            self._context.wake.set()  # the run time of its job starts or stops

        return Execution(self._context.machine, setting, record, changed, self._context.wake.set)

    def prepare_ahead(self) -> None:
        """Creates containers while the operators before them run, to shorten their start."""
        free = AHEAD * self._slots - sum(len(a.prepared) for a in self._context.active.values())
        for active in self._context.active.values():
            for name in [name for name, e in active.prepared.items() if e.lacks_image]:
                del active.prepared[name]
                self._fetch(active, name)
            for name in active.preparable()[: max(0, free)]:
                execution = active.prepared[name] = self._execution(active, name, ())
                execution.prepare()
                free -= 1

    async def _operator(
        self, active: ActiveJob, name: str, execution: Execution, unfit: Execution | None
    ) -> None:
        """Executes one operator.

        `unfit`: a container created ahead that cannot be used. It is removed first: the names are
        equal.
        """
        try:
            if unfit is not None:
                await unfit.discard()
            await execution.run()
            self._context.pause.over()
        except OUTAGES as error:
            self._context.pause.met(error)
            self._context.orphans.expect()
        except StateFolderError:  # no result of any job can be recorded any more
            raise
        except Exception as error:  # noqa: BLE001 - the daemon lives on where one job meets a bug
            _log.exception("operator broken", extra={"job": active.job.id, "operator": name})
            with contextlib.suppress(*OUTAGES):
                await execution.abort(repr(error))
            self._context.orphans.expect()
        record = execution.record
        if record != active.operators[name]:
            active.note(record)
        if execution.filled is not None:
            active.fill(execution.filled)
        del active.running[name]
        if execution.lacks_image:
            self._fetch(active, name)
        if record.status is not OperatorStatus.RUNNING:
            self._context.given.pop((active.job.id, name), None)
        if record.status is OperatorStatus.FAULTED:
            active.end(execution.job_ending)
        if not active.uses_gpu:
            active.lease = ()
        self._context.wake.set()

    def _fetch(self, active: ActiveJob, name: str) -> None:
        """Pulls an operator's image while the operator occupies no other resources."""
        if active.ending is not None:
            return
        reference = active.reference(name)
        task = self._context.tasks.begin(self._fetched(active, reference), f"fetch {reference}")
        active.fetching[name] = task

        def over(_: asyncio.Task[None]) -> None:
            # Not at the end of the coroutine: a task cancelled before its first step runs none of
            # it.
            del active.fetching[name]
            self._context.wake.set()

        task.add_done_callback(over)

    async def _fetched(self, active: ActiveJob, reference: str) -> None:
        try:
            await active.lookups.fetch(reference)
            self._context.pause.over()
        except OUTAGES as error:
            self._context.pause.met(error)
        except Exception as error:  # noqa: BLE001 - the operator meets it again, and fails by it
            known(error, f"the fetch of {reference}", job=active.job.id)

    async def take_back(self) -> None:
        """Removes prepared containers; the next start removes what remains."""
        prepared = [e for active in self._context.active.values() for e in active.prepared.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await asyncio.gather(*(self._context.take_back(e) for e in prepared))
