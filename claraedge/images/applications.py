"""Reads the application manifests in images, once for each image, and adds them to pipelines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from claraedge.blocking import in_thread
from claraedge.errors import (
    ContainerError,
    ImageNotFoundError,
    InvalidImageError,
    PipelineLoadError,
    RunnerUnavailableError,
    StorageFullError,
)
from claraedge.images import manifests
from claraedge.images.images import Images
from claraedge.pipelines.application import Application, applied, may_be_application
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.model import Operator, Pipeline
from claraedge.runner.protocol import LABEL_INSTANCE, Runner

_log = logging.getLogger(__name__)

_KEPT = 256

_Wrong: TypeAlias = tuple[str, ...]
"""Messages: what is wrong with an image's manifest."""


class Applications:
    """Caches applications by the id of their image.

    The content of an image never changes, so each is read once, whether its manifest is valid,
    invalid or absent.
    """

    def __init__(
        self, images: Images, runner: Runner, instance: str, device: Callable[[], Device]
    ) -> None:
        """`instance`: label of this daemon's containers, which identifies those that a crash left
        behind.

        `device` returns what this machine has; it may block.
        """
        self._images = images
        self._runner = runner
        self._device = device
        self._labels = {LABEL_INSTANCE: instance}
        self._known: dict[str, Application | _Wrong | None] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def applied(self, pipeline: Pipeline) -> Pipeline:
        """Returns the pipeline completed with the manifests of its applications, as far as known
        now.

        An operator is left unchanged where it has a command, or its image is not on this device or
        cannot be read now: the engine calls `of_image` again before it runs. Raises
        PipelineLoadError where a manifest is wrong, or asks for more than the device has.
        """
        ids: dict[str, str] = {}
        completed: dict[str, Operator] = {}
        for operator in filter(may_be_application, pipeline.operators):
            reference = operator.container.reference
            try:
                if reference not in ids:
                    ids[reference] = (await self._images.find(reference)).id
                filled = await self.of_image(operator, ids[reference])
            except PipelineLoadError as error:
                raise PipelineLoadError(
                    *(f"operator `{operator.name}`: {text}" for text in error.messages)
                ) from error
            except (ImageNotFoundError, ContainerError):
                continue
            except (RunnerUnavailableError, StorageFullError):
                break  # the others would fail as well, each perhaps after a long wait
            completed[operator.name] = filled
        return pipeline.with_operators(completed)

    async def of_image(self, operator: Operator, image: str) -> Operator:
        """Returns the operator completed with the manifest of an image, given by its id.

        Raises PipelineLoadError where the manifest is wrong, or asks for more than the device has;
        ImageNotFoundError, RunnerUnavailableError, ContainerError, StorageFullError where the image
        cannot be read.
        """
        if not may_be_application(operator):
            return operator
        application = await self._application(image)
        if application is None:
            return operator
        try:
            if isinstance(application, tuple):
                raise PipelineLoadError(*application)
            filled = applied(operator, application)
            _check(operator, filled, await in_thread(self._device))
        except PipelineLoadError as error:
            where = f"the image {operator.container.reference}"
            raise PipelineLoadError(*(f"{where}: {text}" for text in error.messages)) from error
        return filled

    async def _application(self, image: str) -> Application | _Wrong | None:
        if image not in self._known:
            reading = self._reading.get(image)
            if reading is None:
                reading = asyncio.create_task(self._read(image), name=f"manifest of {image[:12]}")
                self._reading[image] = reading
                reading.add_done_callback(partial(self._read_ended, image))
            await asyncio.shield(reading)
        return self._known[image]

    async def _read(self, image: str) -> None:
        found: Application | _Wrong | None
        try:
            files = await self._runner.read_files(image, manifests.PATHS, self._labels)
            found = manifests.read(files)
        except (PipelineLoadError, InvalidImageError) as error:
            found = error.messages
        if isinstance(found, Application):
            _log.info("application found", extra={"image": image, "command": found.command})
        if len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known[image] = found

    def _read_ended(self, image: str, reading: asyncio.Task[None]) -> None:
        del self._reading[image]
        if not reading.cancelled():
            reading.exception()  # mark it as retrieved: whoever waited has got it


def _check(written: Operator, filled: Operator, device: Device) -> None:
    """Raises PipelineLoadError where the manifest asks for more than the device has.

    Values of the definition itself were already checked when the pipeline was created.
    """
    gpus, memory = filled.requests.gpu or 0, filled.requests.memory or 0
    if written.requests.gpu is None and gpus > device.gpus > 0:
        raise PipelineLoadError(
            f"its manifest asks for {gpus} GPUs, and this device has {device.gpus}; write"
            f" `requests: {{gpu: {device.gpus}}}` where that is enough"
        )
    if written.requests.memory is None and memory > device.memory:
        raise PipelineLoadError(
            f"its manifest asks for {memory} megabytes, and this device has {device.memory}; write"
            " `requests: {memory: MEGABYTES}` where less is enough"
        )
