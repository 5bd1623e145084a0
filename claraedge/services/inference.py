"""The inference server's models: loaded before a job starts, kept while jobs use them.

At most so many are loaded at once; one that no running job uses makes room for another, the least
recently used first. A job waits in line until there is room for all of its models; it gets them all
or none, so no two jobs each hold what the other waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from claraedge import files
from claraedge.blocking import in_thread
from claraedge.errors import ModelNotReadyError, RunnerUnavailableError, ServiceError
from claraedge.runner.protocol import Runner
from claraedge.services.companion import Companion
from claraedge.services.model import room_for
from claraedge.services.repository import Version
from claraedge.services.triton import GoneError, Triton, gone

_log = logging.getLogger(__name__)

_POLLS = (0.05, 1.0)
#: A server that goes away so often while it loads the models of one job is given up for that job.
_TRIES = 3


class _Record(msgspec.Struct):
    """What was last known to be loaded, and in which container."""

    container: str
    loaded: dict[str, Version | None]


class LoadedModels:
    """The models of one companion, through its restarts."""

    def __init__(
        self, runner: Runner, *, port: int, limit: int, start: float, load: float, record: Path
    ) -> None:
        """`start`: seconds until the server is ready; `load`: until it has loaded one model.

        `record` is a file that tells the next start of the daemon what is loaded.
        """
        self._runner = runner
        self._port = port
        self._limit = limit
        self._start = start
        self._load = load
        self._record = record
        self._container: str | None = None
        self._loaded: dict[str, Version | None] = {}
        """The least recently used first; None: in which version is unknown."""
        self._users: dict[str, frozenset[str]] = {}
        self._served: set[str] = set()
        """Jobs whose models were all loaded once: they are loaded again after a restart."""
        self._line = asyncio.Lock()
        self._talking = asyncio.Lock()
        self._freed = asyncio.Event()

    # --- for jobs ------------------------------------------------------------------------------

    async def hold(self, job: str, wanted: Mapping[str, Version], companion: Companion) -> None:
        """Returns when all of these are loaded and ready; they stay so until `drop`.

        Raises ModelNotReadyError with the server's reason, or what the server ended of.
        """
        async with self._line:  # first come, first served: a large job is not passed for ever
            await companion.up()
            while (unload := self._room(job, wanted)) is None:
                self._freed.clear()
                await self._freed.wait()
            self._users[job] = frozenset(wanted)
            for attempt in range(_TRIES):
                container = await companion.up()
                try:
                    async with self._talking:
                        await self._bring(self._triton(companion, container), unload, wanted)
                    break
                except GoneError as error:
                    if attempt + 1 == _TRIES:
                        raise gone(error) from error
                    await asyncio.sleep(_POLLS[1])  # its end is noticed, and it is started again
            self._served.add(job)

    def drop(self, job: str) -> None:
        """The job uses its models no more; they stay loaded for the next one."""
        self._users.pop(job, None)
        self._served.discard(job)
        self._freed.set()

    def short_of(self, job: str, wanted: Mapping[str, Version]) -> bool:
        """Whether there is no room for these before another job has ended."""
        return self._room(job, wanted) is None

    def _room(self, job: str, wanted: Mapping[str, Version]) -> tuple[str, ...] | None:
        others = frozenset[str]().union(*(n for j, n in self._users.items() if j != job))
        return room_for(tuple(wanted), tuple(self._loaded), others, self._limit)

    # --- for the companion ---------------------------------------------------------------------

    async def fit(self, companion: Companion, container: str) -> None:
        """Waits for a server that was started, and gives it back what running jobs use of it."""
        triton = self._triton(companion, container)
        try:
            async with asyncio.timeout(self._start):
                pause = _POLLS[0]
                while not await self._answers(triton):
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, _POLLS[1])
        except TimeoutError as error:
            raise ServiceError(
                f"{companion.name} was not ready within {self._start:g} s"
                f" (inference.start_seconds); its log: {companion.log_path}"
            ) from error
        try:
            async with self._talking:
                if container != self._container:
                    before = self._loaded
                    self._loaded = await self._found(triton, container)
                    self._container = container
                    await self._again(triton, before)
        except GoneError as error:
            raise ServiceError(f"{companion.name} {error}") from error

    async def _answers(self, triton: Triton) -> bool:
        try:
            return await triton.ready()
        except RunnerUnavailableError:  # what runs goes on without Podman's service
            return False

    async def _found(self, triton: Triton, container: str) -> dict[str, Version | None]:
        """What a container has loaded that another daemon may have started."""
        recorded = await in_thread(self._read)
        known = recorded.loaded if recorded and recorded.container == container else {}
        names = await triton.loaded()
        return {
            **{name: version for name, version in known.items() if name in names},
            **{name: None for name in names if name not in known},
        }

    async def _again(self, triton: Triton, before: Mapping[str, Version | None]) -> None:
        for name in frozenset[str]().union(*(self._users[job] for job in self._served)):
            if name not in self._loaded:
                try:
                    await self._load_one(triton, name, before.get(name))
                except ModelNotReadyError as error:  # its job finds out; the others go on
                    _log.error("model not loaded again", extra={"reason": str(error)})

    # --- loading -------------------------------------------------------------------------------

    async def _bring(
        self, triton: Triton, unload: tuple[str, ...], wanted: Mapping[str, Version]
    ) -> None:
        for name in unload:
            if name in self._loaded:
                await triton.unload(name)
                del self._loaded[name]
                _log.info("model unloaded", extra={"model_name": name})
        for name, version in wanted.items():
            if self._loaded.get(name) != version or not await triton.has_ready(name):
                await self._load_one(triton, name, version)
            else:
                self._loaded[name] = self._loaded.pop(name)  # the most recently used one now

    async def _load_one(self, triton: Triton, name: str, version: Version | None) -> None:
        self._loaded.pop(name, None)
        self._loaded[name] = None  # whatever ends this: it may be loaded by then
        try:
            await triton.load(name, self._load)
        except ModelNotReadyError:
            with contextlib.suppress(GoneError):
                if not await triton.has_ready(name):  # else an older version of it goes on
                    del self._loaded[name]
            raise
        self._loaded[name] = version
        record = _Record(container=str(self._container), loaded=self._loaded)
        await in_thread(files.replace, self._record, msgspec.json.encode(record))
        _log.info("model loaded", extra={"model_name": name})

    def _read(self) -> _Record | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=_Record)
        except (OSError, msgspec.MsgspecError):  # none, or damaged: the server is begun anew
            return None

    def _triton(self, companion: Companion, container: str) -> Triton:
        address = next(iter(companion.networks.values()), "127.0.0.1")
        return Triton(self._runner, container, address, self._port)
