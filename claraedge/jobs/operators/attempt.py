"""Prepares one attempt of an operator, up to the start of its container.

Nothing of this is recorded: a container that was created and is not recorded as running never ran,
so orphan removal deletes it. An attempt's number is one more than that of the last recorded one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, wait_out
from claraedge.errors import (
    ContainerError,
    DamagedFileError,
    ImageNotFoundError,
    ImagePullError,
    NetworkError,
    PipelineLoadError,
    RunnerUnavailableError,
)
from claraedge.fs import files
from claraedge.jobs.model import Job, OperatorRecord
from claraedge.jobs.operators.container import container_spec, make_output_folders
from claraedge.jobs.operators.lookups import Lookups
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.operators.shared_values import SharedValues
from claraedge.jobs.operators.values import UnusableValueError
from claraedge.pipelines.model import Operator, Pipeline
from claraedge.pipelines.requests import OperatorRequests
from claraedge.runner.foreign import clear
from claraedge.runner.protocol import (
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_OPERATOR,
    ContainerSpec,
    Image,
)
from claraedge.services.model import Lease

T = TypeVar("T")


async def unless(ending: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Awaits `work`; if `ending` is set first, cancels it and returns None."""
    doing = asyncio.create_task(work)
    waiting = asyncio.create_task(ending.wait())
    try:
        await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return await doing if doing.done() else None
    finally:
        doing.cancel()
        waiting.cancel()
        await asyncio.gather(doing, waiting, return_exceptions=True)


class UnmakeableError(Exception):
    """The attempt cannot be prepared; the message is for the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An attempt with a created container that only needs to be started."""

    attempt: int
    image: str
    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The context in which an operator of a job is executed."""

    job: Job
    pipeline: Pipeline
    operator: Operator
    requests: OperatorRequests
    upstream: Mapping[str, int]
    """Upstream operator -> the attempt whose output this operator reads."""
    devices: tuple[str, ...]
    """CDI names of the GPUs that are assigned to it."""
    lookups: Lookups
    service_lease: Callable[[], Lease]
    """Returns the job's lease, or raises RunnerUnavailableError while it is not restored."""

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the operator's containers, without those of the attempt."""
        return {LABEL_JOB: self.job.id, LABEL_OPERATOR: self.operator.name}

    @property
    def about(self) -> dict[str, str]:
        """Fields for log entries."""
        return {"job": self.job.id, "operator": self.operator.name}


class Attempt:
    """Creates the container of an operator's next attempt."""

    def __init__(
        self,
        machine: Machine,
        setting: Setting,
        values: SharedValues,
        last: OperatorRecord,
        ending: asyncio.Event,
        on_placed: Callable[[], None],
    ) -> None:
        """`ending` is set when the job is to end. `on_placed` is called once the folders exist."""
        self.placed: int | None = None
        """The attempt whose folders exist; None: not yet."""
        self.filled: Operator | None = None
        """The operator completed by its image's manifest, if that changed it.

        No container is created then, because the operator may need other resources now.
        """
        self.lacks_image = False
        """Whether its image has to be pulled first.

        No container is created then: it would occupy resources of others during the pull.
        """
        self.lacks_device = False
        """Whether an assigned GPU is unusable; then no container is created, and it waits."""
        self._machine = machine
        self._setting = setting
        self._values = values
        self._last = last
        self._ending = ending
        self._on_placed = on_placed
        self._making: asyncio.Task[Made | None] | None = None

    @property
    def failed(self) -> bool:
        """Whether the preparation has failed or was cancelled."""
        task = self._making
        return (
            task is not None and task.done() and (task.cancelled() or task.exception() is not None)
        )

    def begin(self) -> None:
        """Starts to create the container before the operator's turn; `made` raises its errors."""
        self._making = asyncio.create_task(self._make(), name=f"make {self._setting.operator.name}")

    async def made(self) -> Made | None:
        """Returns the created container.

        Returns None if the job ends first, or if the operator is `filled`, `lacks_image` or
        `lacks_device`. Raises UnmakeableError, RunnerUnavailableError, StorageFullError.
        """
        if self._making is None:
            self.begin()
        assert self._making is not None
        return await self._making

    async def discard(self) -> None:
        """Removes the container, once its creation has finished: a partial one is not found.

        Raises RunnerUnavailableError if the container may remain.
        """
        self._ending.set()
        if self._making is None:
            return
        (made,) = await asyncio.gather(self._making, return_exceptions=True)
        if isinstance(made, RunnerUnavailableError):
            raise made
        if isinstance(made, Made) and not await self._machine.removals.remove(
            made.container, **self._setting.about
        ):
            raise RunnerUnavailableError(
                f"the container {made.container[:12]}, which was made ahead, was not removed"
            )

    async def _make(self) -> Made | None:
        attempt = self._last.attempt + 1
        try:
            placement = asyncio.create_task(self._place(attempt))
            try:
                image = await self._image()
                if image is None or await self._is_filled(image.id):
                    return None
                log, unsynced = await placement
            finally:
                placement.cancel()
                await asyncio.gather(placement, return_exceptions=True)
            spec = self._spec(image.id, attempt, log)
            await self._machine.removals.room()
            if self._ending.is_set():
                return None
            self.placed = attempt
            self._on_placed()
            syncing = asyncio.create_task(in_thread(files.sync_folders, unsynced))
            try:
                container = await self._create(spec)
            finally:
                await wait_out(syncing)
            syncing.result()
        except (DamagedFileError, ImagePullError, PipelineLoadError, UnusableValueError) as error:
            raise UnmakeableError(str(error)) from error
        except (ContainerError, ImageNotFoundError) as error:
            devices = self._setting.devices
            self.lacks_device = bool(devices) and await self._machine.gpu_fault(devices) is not None
            if self.lacks_device:
                return None
            made = "" if self.placed is None else "its container could not be made: "
            raise UnmakeableError(f"{made}{error}") from error
        return Made(attempt=attempt, image=image.id, container=container)

    async def _create(self, spec: ContainerSpec) -> str:
        try:
            return await self._machine.runner.create(spec)
        except (NetworkError, ImageNotFoundError):
            raise
        except ContainerError as error:
            reference = self._setting.operator.container.reference
            of_image = await self._machine.images.why_unusable(reference, spec.image)
            raise ContainerError(of_image or str(error)) from error

    async def _image(self) -> Image | None:
        """Returns the operator's image; None if it has to be pulled, or the job ends first."""
        reference = self._setting.operator.container.reference
        image = await unless(self._ending, self._setting.lookups.here(reference))
        self.lacks_image = image is None and not self._ending.is_set()
        if self.lacks_image:
            self._on_placed()  # wakes the engine to pull it, also before its turn
        return image

    async def _is_filled(self, image: str) -> bool:
        """Returns whether the image's manifest changes the operator."""
        operator = await self._machine.applications.of_image(self._setting.operator, image)
        if operator == self._setting.operator:
            return False
        self.filled = operator
        return True

    async def _place(self, attempt: int) -> tuple[Path, list[Path]]:
        """Creates the folders of the attempt, with the shared values that it reads and writes.

        Returns the path of its log, and the folders to sync.
        """
        machine, job, operator = self._machine, self._setting.job, self._setting.operator
        await machine.payloads.materialise(job.payload)
        await self._discard_older()
        await self._values.place(attempt)
        folder = machine.payloads.tree.attempt(job.payload, operator.name, attempt)

        def make(_: CancelFlag) -> tuple[Path, list[Path]]:
            unsynced = make_output_folders(folder, operator)
            return machine.logs.prepare(job.id, operator.name, attempt), unsynced

        return await in_cancellable_thread(make)

    async def _discard_older(self) -> None:
        """Removes the container and the files of the previous attempt."""
        attempt = self._last.attempt
        if attempt == 0:
            return
        labels = {LABEL_INSTANCE: self._machine.instance, **self._setting.labels}
        for container in await self._machine.runner.containers(labels):
            await self._machine.removals.remove(container.id, **self._setting.about)
        job, name = self._setting.job, self._setting.operator.name
        tree, runner = self._machine.payloads.tree, self._machine.runner
        await clear(runner, tree.attempt(job.payload, name, attempt))
        await self._values.discard(attempt)

    def _spec(self, image: str, attempt: int, log: Path) -> ContainerSpec:
        setting = self._setting
        return container_spec(
            self._machine.payloads.tree,
            self._machine.values,
            setting.job,
            setting.pipeline,
            setting.operator,
            setting.upstream,
            attempt=attempt,
            image=image,
            log=log,
            labels={LABEL_INSTANCE: self._machine.instance, **setting.labels},
            devices=setting.devices,
            memory=setting.requests.memory.limit,
            tmpfs=setting.requests.tmpfs,
            service_lease=setting.service_lease(),
        )
