"""One container that runs beside jobs, from its making to its removal.

One task (`_keep`) makes it, sees to its health, notices its end, and removes it: nobody else
touches its life. Others say who uses it and wait for news. Whether it may end is decided and acted
on in one step of the loop, without an await in between, so nobody can begin to use what ends.

A daemon that stops cancels the task, and the container runs on for the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from claraedge import files
from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    NetworkError,
    RunnerUnavailableError,
    ServiceError,
    StorageFullError,
)
from claraedge.ids import NewId
from claraedge.runner.log_lines import tail
from claraedge.runner.protocol import (
    LABEL_SERVICE,
    LABEL_SERVICE_NAME,
    LABEL_SERVICES,
    Exit,
    Runner,
)
from claraedge.services.recipes import Recipe

#: Digest of the recipe that a container was made by, and the GPUs that it has.
LABEL_RECIPE = "io.claraedge.recipe"
LABEL_GPUS = "io.claraedge.gpus"

_log = logging.getLogger(__name__)

#: Restarts are counted over so many seconds.
_WINDOW = 600.0
#: Bytes of a companion's log before it begins anew.
_LOG_SIZE = 8 * 1024 * 1024
_POLLS = (0.05, 1.0)
_CONNECTS = 3
_OUTAGE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds, and how often."""

    idle: float
    """It ends when nobody has used it for so long."""
    start: float
    """From its start until it takes connections."""
    restarts: int
    """Within ten minutes, while jobs use it."""


class Parts(Protocol):
    """What companions share, and what they report to."""

    runner: Runner
    clock: Clock
    new_id: NewId
    instance: str
    logs: Path
    volumes: Path
    """Holds a folder for each key: what that service shares with operators lies in it."""
    grace: float

    def awaited(self) -> bool:
        """Whether jobs that ran before this start may still come back for their companions."""
        ...

    def closing(self, companion: Companion) -> None:
        """It takes no more users; called in the same step that decides so."""
        ...

    def lost(self, companion: Companion, error: ClaraedgeError) -> None:
        """It is gone for good while jobs use it."""
        ...

    def left_behind(self) -> None:
        """A container could not be removed now."""
        ...

    def ended(self, companion: Companion, task: asyncio.Task[None]) -> None:
        """Its task is over: its container is gone, or the daemon stops, or it met a bug."""
        ...


#: Further health of a container that runs: waits for it, or raises ServiceError.
Fitting = Callable[["Companion", str], Awaitable[None]]


class Companion:
    """`users`, `networks` and `ports` belong to its owner, who calls `tell` after a change."""

    def __init__(
        self,
        parts: Parts,
        key: str,
        name: str,
        limits: Limits,
        *,
        recipe: Recipe | None,
        fit: Fitting | None = None,
        after: tuple[asyncio.Task[None], ...] = (),
        container: str | None = None,
        digest: str = "",
        gpus: tuple[str, ...] = (),
    ) -> None:
        """`after`: of those that this one follows; it is not made before they are gone.

        `container`: one that runs already with these GPUs, made by the recipe of this digest, which
        comes with its first user.
        """
        self.key = key
        self.name = name
        self.recipe = recipe
        self.digest = recipe.digest if recipe else digest
        self.gpus = recipe.spec.devices if recipe else gpus
        """CDI names of the devices that it has."""
        self.users: set[str] = set()
        self.networks: dict[str, str] = {}
        """Those that it is on, or is to be on -> its address there."""
        self.ports: set[int] = set(recipe.ports if recipe else ())
        self.asked = False
        """To end as soon as nobody uses it."""
        self.closed = False
        self.trouble: str | None = None
        """Why it was last started again."""
        self.container = container
        self.making: str | None = None
        """Name of the container that was made last, from before it is made; None: nobody's."""
        self.task: asyncio.Task[None] | None = None
        self._parts = parts
        self._limits = limits
        self._fit = fit
        self._after = after
        self._fitted = False
        self._was_fit = container is not None
        self._failure: ClaraedgeError | None = None
        self._idle_since = parts.clock.elapsed()
        self._wiring = asyncio.Lock()
        self._news = asyncio.Event()

    # --- for its owner -------------------------------------------------------------------------

    @property
    def log_path(self) -> Path:
        return self._parts.logs / f"{self.key}.log"

    def tell(self) -> None:
        """Wakes whoever waits for a change."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def leave(self, job: str) -> None:
        """A job does not use it any more."""
        if job in self.users:
            self.users.discard(job)
            self._idle_since = self._parts.clock.elapsed()
            self.tell()

    def ask(self) -> None:
        """It is to end once nobody uses it."""
        self.asked = True
        self.tell()

    def begin(self) -> None:
        """Starts its task, which goes on until it has ended."""
        if self.task is None:
            self.task = asyncio.create_task(self._keep(), name=f"companion {self.key}")
            self.task.add_done_callback(lambda task: self._parts.ended(self, task))

    async def join(self, network: str, address: str) -> None:
        """Puts it on a network. Raises ServiceError or what else it ended of."""
        self.networks[network] = address
        self.begin()
        for attempt in range(_CONNECTS):
            container = await self._until(lambda: self.container)
            async with self._wiring:  # whoever makes it anew takes all networks along
                if container != self.container:
                    continue
                try:
                    await self._parts.runner.connect(container, network, address)
                except ContainerError:
                    if attempt + 1 == _CONNECTS:
                        raise
                else:
                    return
            await asyncio.sleep(_POLLS[1])  # it ends perhaps, and its task has not seen it yet
        raise NetworkError(f"{self.name} was started again while it was put on a network")

    async def up(self) -> str:
        """Its container, once that is healthy. Raises ServiceError or what else it ended of."""
        return await self._until(lambda: self.container if self._fitted else None)

    async def listens(self, address: str, ports: set[int]) -> None:
        """Returns once it takes connections at all of these. Raises ServiceError after a time."""
        try:
            async with asyncio.timeout(self._limits.start):
                for port in sorted(ports):
                    await self._until_open(address, port)
        except TimeoutError as error:
            shown = ", ".join(str(port) for port in sorted(ports))
            raise ServiceError(
                f"{self.name} does not take connections at port {shown} within"
                f" {self._limits.start:g} s{await self._last_words()}"
            ) from error

    # --- waiting -------------------------------------------------------------------------------

    async def _until(self, value: Callable[[], str | None]) -> str:
        while True:
            if self._failure is not None:
                raise self._failure
            if self.closed:
                raise ServiceError(f"{self.name} was ended")
            found = value()
            if found is not None:
                return found
            await self._news.wait()

    async def _until_open(self, address: str, port: int) -> None:
        pause = _POLLS[0]
        while True:
            container = await self._until(lambda: self.container)
            try:
                async with self._parts.runner.dial(container, address, port):
                    return
            except (OSError, RunnerUnavailableError):
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _POLLS[1])

    # --- its task ------------------------------------------------------------------------------

    async def _keep(self) -> None:
        try:
            if self._after:
                await asyncio.wait(self._after)
            await self._serve()
        except ClaraedgeError as error:
            self._fail(error)
        except OSError as error:  # of its folders
            full = f"{error.filename}: the disk is full; free some space and work goes on"
            self._fail(
                StorageFullError(full)
                if files.is_full(error)
                else ServiceError(f"{self.name} cannot be made: {error}")
            )
        await self._take_down()

    def _fail(self, error: ClaraedgeError) -> None:
        self._failure = error
        self._close()
        if self.users:
            _log.error("service lost", extra={"service": self.name, "reason": str(error)})
            self._parts.lost(self, error)

    def _close(self) -> None:
        self.closed = True
        self._fitted = False
        self._parts.closing(self)
        self.tell()

    async def _serve(self) -> None:
        restarts: list[float] = []
        while True:
            if self.container is None:
                if not self.users:
                    self._close()
                    return
                await self._make_in_time()
            assert self.container is not None
            end = await self._attend(self.container)
            if end is None:
                return
            reason = f"{self.name} ended by itself ({_said(end)}){await self._last_words()}"
            self._fitted = False
            async with self._wiring:
                container, self.container = self.container, None
            await self._remove(container)
            if not self.users:
                self._close()
                return
            now = self._parts.clock.elapsed()
            restarts = [at for at in restarts if now - at < _WINDOW]
            if not self._was_fit:
                raise ServiceError(reason)
            if len(restarts) >= self._limits.restarts:
                raise ServiceError(f"{reason}; it was started again {len(restarts)} times")
            restarts.append(now)
            self.trouble = reason
            _log.warning("service started again", extra={"service": self.name, "reason": reason})

    async def _make_in_time(self) -> None:
        """Makes its container; while jobs use it and Podman is down, their work waits."""
        while True:
            try:
                await self._make()
            except RunnerUnavailableError:
                self.making = None
                self._parts.left_behind()  # perhaps
                if not self._was_fit or not self.users:
                    raise
                await asyncio.sleep(_OUTAGE)
            else:
                return

    async def _make(self) -> None:
        parts, recipe = self._parts, self.recipe
        assert recipe is not None, "who uses it has said how it is made"
        async with self._wiring:
            name = f"claraedge-service-{self.key}-{parts.new_id()[:8]}"
            self.making, self.digest, self.gpus = name, recipe.digest, recipe.spec.devices
            await in_thread(_make_folders, parts.logs, recipe.folders)
            spec = replace(
                recipe.spec,
                name=name,
                labels={
                    LABEL_SERVICES: parts.instance,
                    LABEL_SERVICE: self.key,
                    LABEL_SERVICE_NAME: self.name,
                    LABEL_RECIPE: recipe.digest,
                    LABEL_GPUS: ",".join(recipe.spec.devices),
                },
                log_path=self.log_path,
                log_size=_LOG_SIZE,
                networks=dict(self.networks),
            )
            self.container = await parts.runner.create(spec)
            await parts.runner.start(self.container)
        self.tell()
        _log.info(
            "service started",
            extra={
                "service": self.name,
                "container": self.container[:12],
                "log": str(self.log_path),
            },
        )

    async def _attend(self, container: str) -> Exit | None:
        """The end of the container; None where it is to end, and takes no more users.

        Raises ServiceError where it does not become healthy.
        """
        ending = asyncio.ensure_future(self._end_of(container))
        fitting = asyncio.ensure_future(self._become_fit(container))
        try:
            while True:
                if self._may_end():
                    self._close()
                    return None
                news = asyncio.ensure_future(self._news.wait())
                waited: list[asyncio.Future[Any]] = [ending, news]
                if not self._fitted:
                    waited.append(fitting)
                try:
                    await asyncio.wait(
                        waited, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    news.cancel()
                if ending.done():
                    return ending.result()
                if fitting.done() and not self._fitted:
                    fitting.result()
                    self._fitted = self._was_fit = True
                    self.tell()
        finally:
            for task in (ending, fitting):
                task.cancel()
            await asyncio.gather(ending, fitting, return_exceptions=True)

    async def _become_fit(self, container: str) -> None:
        if self.networks and self.ports:
            await self.listens(next(iter(self.networks.values())), set(self.ports))
        while self._fit is not None:
            try:
                await self._fit(self, container)
            except RunnerUnavailableError:  # nothing is known of its health meanwhile
                await asyncio.sleep(_OUTAGE)
            else:
                return

    async def _end_of(self, container: str) -> Exit:
        while True:
            try:
                return await self._parts.runner.wait(container)
            except RunnerUnavailableError:  # what runs goes on without Podman's service
                await asyncio.sleep(_OUTAGE)

    def _may_end(self) -> bool:
        left = self._left()
        return left is not None and left <= 0

    def _left(self) -> float | None:
        """Seconds until it may end; None: somebody uses it."""
        if self.users or self._parts.awaited():
            return None
        if self.asked or not self._was_fit:
            return 0.0
        return self._idle_since + self._limits.idle - self._parts.clock.elapsed()

    # --- its end -------------------------------------------------------------------------------

    async def _take_down(self) -> None:
        async with self._wiring:
            container, self.container = self.container, None
        if container is None:
            return
        try:
            await self._parts.runner.stop(container, self._parts.grace)
        except ClaraedgeError as error:
            _log.warning("service did not stop", extra={"service": self.name, "reason": str(error)})
        await self._remove(container)
        await self._empty(self._parts.volumes / self.key)
        _log.info("service ended", extra={"service": self.name, "container": container[:12]})

    async def _remove(self, container: str) -> None:
        try:
            await self._parts.runner.remove(container)
        except ClaraedgeError as error:
            _log.warning(
                "container of a service left behind",
                extra={"service": self.name, "reason": str(error)},
            )
            self.making = None
            self._parts.left_behind()

    async def _empty(self, folder: Path) -> None:
        """Removes what it shared with operators, whoever wrote that."""
        try:
            await empty(self._parts.runner, folder)
        except (OSError, ClaraedgeError) as error:
            _log.warning(
                "shared folder left behind", extra={"service": self.name, "reason": str(error)}
            )

    async def _last_words(self) -> str:
        lines = await in_thread(tail, self.log_path, 1)
        said = f"; its last line: {lines[0].strip()[:500]}" if lines else ""
        return f"{said} (its log: {self.log_path})"


async def empty(runner: Runner, folder: Path) -> None:
    """Removes a folder that containers wrote in, whoever owns what lies there."""
    try:
        await in_thread(files.remove_tree, folder)
    except PermissionError:
        await runner.reclaim(folder)
        await in_thread(files.remove_tree, folder)


def _make_folders(logs: Path, shared: tuple[Path, ...]) -> None:
    files.make_folders(logs)
    for folder in shared:
        files.make_folders(folder)
        folder.chmod(0o777)  # below folders that are ours alone


def _said(end: Exit) -> str:
    if end.out_of_memory:
        return "out of memory"
    return end.cause.value if end.code is None else f"exit code {end.code}"
