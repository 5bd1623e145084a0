"""The life of a companion (a service container), from its creation to its removal.

One task creates it, checks its health, notices its end, and removes it; no other code does. The
decision to end it is made and applied in one step of the event loop, without an await, so no job
can start to use a companion that ends. A daemon that stops cancels the task, and the container
keeps running for the next daemon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from claraedge.clock import Clock
from claraedge.errors import (
    ClaraedgeError,
    RunnerUnavailableError,
    ServiceError,
    StorageFullError,
)
from claraedge.fs import files
from claraedge.runner.protocol import Exit
from claraedge.services.companion import Companion
from claraedge.services.workshop import Workshop

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Seconds over which restarts are counted.
_WINDOW = 600.0
_OUTAGE = 1.0

#: An additional health check of a running container: waits for it, or raises ServiceError.
Fitting: TypeAlias = Callable[[Companion, str], Awaitable[None]]


class Owner(Protocol):
    """The owner that keepers query and report to."""

    def awaited(self) -> bool:
        """Returns whether jobs that ran before this start may still return for their companions."""
        ...

    def closing(self, companion: Companion) -> None:
        """Called in the step that decides that the companion accepts no more users."""
        ...

    def lost(self, companion: Companion, error: ClaraedgeError) -> None:
        """Called when the companion has failed permanently while jobs use it."""
        ...

    def restarted(self, companion: Companion) -> None:
        """Called when its container has ended by itself, and is created again."""
        ...

    def ended(self, companion: Companion, task: asyncio.Task[None]) -> None:
        """Called when its task has ended: with the container, with the daemon, or by a bug."""
        ...


class Keeper:
    """Supervises one companion."""

    def __init__(
        self,
        companion: Companion,
        owner: Owner,
        workshop: Workshop,
        clock: Clock,
        *,
        fit: Fitting | None = None,
        after: tuple[asyncio.Task[None], ...] = (),
    ) -> None:
        """`after`: tasks of its predecessors; it is created after they have ended."""
        self._companion = companion
        self._owner = owner
        self._workshop = workshop
        self._clock = clock
        self._fit = fit
        self._after = after

    def begin(self) -> None:
        """Starts the task, which runs until the companion has ended."""
        companion = self._companion
        if companion.task is None:
            task = asyncio.create_task(self._keep(), name=f"companion {companion.key}")
            task.add_done_callback(lambda task: self._owner.ended(companion, task))
            companion.task = task

    async def _keep(self) -> None:
        companion = self._companion
        try:
            if self._after:
                await asyncio.wait(self._after)
            await self._serve()
        except ClaraedgeError as error:
            self._fail(error)
        except OSError as error:  # from its folders
            full = f"{error.filename}: the disk is full; free some space there, then work continues"
            self._fail(
                StorageFullError(full)
                if files.is_full(error)
                else ServiceError(f"{companion.name} cannot be made: {error}")
            )
        async with companion.wiring:
            container, companion.container = companion.container, None
        if container is not None:
            if not await self._workshop.end(companion.name, container):
                self._left_behind()
            try:
                await self._workshop.empty(companion.key)
            except RunnerUnavailableError:
                _log.warning("shared folder left behind", extra={"service": companion.name})
            _log.info(
                "service ended", extra={"service": companion.name, "container": container[:12]}
            )

    def _left_behind(self) -> None:
        """Reports that its container may remain, so that orphan removal finds it."""
        self._companion.making = None
        self._workshop.on_left()

    def _fail(self, error: ClaraedgeError) -> None:
        companion = self._companion
        companion.failure = error
        self._close()
        if companion.users:
            _log.error("service lost", extra={"service": companion.name, "reason": str(error)})
            self._owner.lost(companion, error)

    def _close(self) -> None:
        companion = self._companion
        companion.closed = True
        companion.fit = False
        self._owner.closing(companion)
        companion.notify()

    async def _serve(self) -> None:
        companion = self._companion
        restarts: list[float] = []
        while True:
            if companion.container is None:
                if not companion.users:
                    self._close()
                    return
                await self._make_in_time()
            assert companion.container is not None
            end = await self._attend(companion.container)
            if end is None:
                return
            words = await self._workshop.last_words(companion.key)
            of_image = await self._workshop.of_image(companion.recipe) if end.code else ""
            reason = f"{companion.name} ended by itself ({_said(end)}){words}{of_image}"
            companion.fit = False
            async with companion.wiring:
                companion.container, container = None, companion.container
            if not await self._workshop.remove(companion.name, str(container)):
                self._left_behind()
            if not companion.users:
                self._close()
                return
            now = self._clock.elapsed()
            restarts = [at for at in restarts if now - at < _WINDOW]
            if not companion.was_fit:
                raise ServiceError(reason)
            if len(restarts) >= companion.limits.restarts:
                raise ServiceError(
                    f"{reason}; it was started again {len(restarts)} times (services.restarts)"
                )
            restarts.append(now)
            companion.trouble = reason
            self._owner.restarted(companion)
            _log.warning(
                "service started again", extra={"service": companion.name, "reason": reason}
            )

    async def _make_in_time(self) -> None:
        """Creates its container; retries while Podman is down and jobs use it."""
        companion = self._companion
        while True:
            try:
                await self._make()
            except RunnerUnavailableError:
                self._left_behind()
                if not companion.was_fit or not companion.users:
                    raise
                await asyncio.sleep(_OUTAGE)
            else:
                return

    async def _make(self) -> None:
        companion = self._companion
        workshop, recipe = self._workshop, companion.recipe
        assert recipe is not None, "who uses it has said how it is made"
        async with companion.wiring:
            name = companion.making = workshop.new_name(companion.key)
            companion.digest, companion.gpus = recipe.digest, recipe.spec.devices
            companion.memory = recipe.memory
            companion.container = await workshop.make(
                companion.key, companion.name, recipe, name=name, networks=companion.networks
            )
            await workshop.runner.start(companion.container)
        companion.notify()
        _log.info(
            "service started",
            extra={
                "service": companion.name,
                "container": companion.container[:12],
                "log": str(companion.log_path),
            },
        )

    async def _attend(self, container: str) -> Exit | None:
        """Waits for the container's end; returns None if it may end and accepts no more users.

        Raises ServiceError if it does not become healthy.
        """
        companion = self._companion
        ending = asyncio.ensure_future(_answered(partial(self._workshop.runner.wait, container)))
        fitting = asyncio.ensure_future(self._become_fit(container))
        try:
            while True:
                if self._may_end():
                    self._close()
                    return None
                news = asyncio.ensure_future(companion.news.wait())
                waited: list[asyncio.Future[Any]] = [ending, news]
                if not companion.fit:
                    waited.append(fitting)
                try:
                    await asyncio.wait(
                        waited, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    news.cancel()
                if ending.done():
                    return ending.result()
                if fitting.done() and not companion.fit:
                    fitting.result()
                    companion.fit = companion.was_fit = True
                    companion.notify()
        finally:
            for task in (ending, fitting):
                task.cancel()
            await asyncio.gather(ending, fitting, return_exceptions=True)

    async def _become_fit(self, container: str) -> None:
        companion = self._companion
        if companion.networks and companion.ports:
            await companion.listens(next(iter(companion.networks.values())), set(companion.ports))
        if self._fit is not None:
            await _answered(partial(self._fit, companion, container))

    def _may_end(self) -> bool:
        left = self._left()
        return left is not None and left <= 0

    def _left(self) -> float | None:
        """Returns the seconds until it may end; None: a job uses it, or may still return to it."""
        companion = self._companion
        if companion.users or self._owner.awaited():
            return None
        if companion.asked or not companion.was_fit:
            return 0.0
        return companion.idle_since + companion.limits.idle - self._clock.elapsed()


async def _answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call until Podman's service answers: containers run without it."""
    while True:
        try:
            return await call()
        except RunnerUnavailableError:
            await asyncio.sleep(_OUTAGE)


def _said(end: Exit) -> str:
    if end.out_of_memory:
        return "out of memory"
    return end.cause.value if end.code is None else f"exit code {end.code}"
