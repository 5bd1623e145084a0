"""The models of the inference server: loaded before a job starts, unchanged while jobs use them.

The number of loaded models is limited; a model that no running job uses makes room for another, the
least recently used first. A job waits in line until there is room for all of its models, and until
no other job uses an earlier version of one. It gets all of them or none, so that no two jobs each
have what the other waits for.

A job gets the models that the repository has at that moment, with all of their parts. Triton itself
does not ensure this: it compares times of files, which a clock that was set back makes useless
(triton-inference-server/server#7013, #2853), and it does not always reload an ensemble when one of
its parts was replaced (#4828). So each part is loaded by its own name, and outdated models are
unloaded first: Triton forgets all about a model that is unloaded (triton-inference-server/core,
model_repository_manager.cc).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from claraedge.blocking import in_thread
from claraedge.decoding import decode_json
from claraedge.errors import ModelNotReadyError, RunnerUnavailableError, ServiceError
from claraedge.fs import files
from claraedge.runner.protocol import Runner
from claraedge.services.companion import Companion
from claraedge.services.inference.composition import Stored, Version, compose, wholes_first
from claraedge.services.inference.repository import ModelView
from claraedge.services.inference.triton import GoneError, Triton, gone
from claraedge.services.model import room_for
from claraedge.supervised.container import poll

_log = logging.getLogger(__name__)

#: Attempts to load the models of one job before a server that keeps ending is given up for that
#: job, and seconds between them.
_TRIES = 3
_RETRY = 1.0

_LOADS = "its models in the inference server"
_ROOM = f"room for {_LOADS}"


class _Record(msgspec.Struct):
    """The models last known to be loaded, in which container, and for which jobs."""

    container: str
    loaded: dict[str, Version | None]
    users: dict[str, dict[str, Version]]


class LoadedModels:
    """The models of one companion, across its restarts."""

    def __init__(
        self,
        runner: Runner,
        view: ModelView,
        present: Callable[[], Awaitable[Mapping[str, Stored]]],
        *,
        port: int,
        limit: int,
        load: float,
        record: Path,
        expected: Collection[str],
    ) -> None:
        """`view`: the models that the server sees; `present` returns those of the repository.

        `load`: seconds for loading one model. `record`: a file that preserves for the next start of
        the daemon what is loaded, and for which jobs; `expected`: these jobs.
        """
        self._runner = runner
        self._view = view
        self._present = present
        self._port = port
        self._limit = limit
        self._load = load
        self._record = record
        self._expected = set(expected)
        self._container: str | None = None
        self._loaded: dict[str, Version | None] = {}
        """Loaded models, the least recently used first; None: the version is unknown."""
        self._users: dict[str, dict[str, Version]] = {}
        """Job -> its models with all parts, in the versions with which it began."""
        self._served: set[str] = set()
        """Jobs whose models were all loaded; a restart of the server loads them again."""
        self._line = asyncio.Lock()
        self._queue: dict[str, Callable[[str], None]] = {}
        """Job in line -> the callback for what it waits for."""
        self._reason = _LOADS
        self._talking = asyncio.Lock()
        self._freed = asyncio.Event()

    # --- for jobs ------------------------------------------------------------------------------

    async def acquire(
        self,
        job: str,
        names: Sequence[str],
        companion: Companion,
        waits: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Loads models for a job; they stay loaded, in the same version, until `drop`.

        `waits` is called with what the job waits for. Raises ModelNotReadyError with the server's
        reason, or the error that ended the server.
        """
        await companion.up()
        if job in self._users:  # it has its models: jobs in line may wait for it
            if not await self._serve(job, (), companion):
                return
            self.drop(job)
        self._queue[job] = waits
        waits(self._reason)
        try:
            async with self._line:  # first come, first served: a large job never starves
                before: dict[str, Version] | None = None
                while True:
                    wanted, unload = await self._place(job, names)
                    self._say(_LOADS)
                    self._users[job] = wanted
                    lost = await self._serve(job, unload, companion)
                    if not lost:
                        return
                    del self._users[job]
                    if wanted == before:  # else a model was replaced meanwhile
                        raise ModelNotReadyError(
                            f"the files of the model {min(lost)} are gone from the disk; upload it"
                            " again, or delete it"
                        )
                    before = wanted
        finally:
            del self._queue[job]

    async def _place(
        self, job: str, names: Sequence[str]
    ) -> tuple[dict[str, Version], tuple[str, ...]]:
        """Waits until nothing blocks the job; returns its models, and those to unload."""
        while True:
            self._freed.clear()
            present = await self._present()
            wanted = compose(names, present, self._limit)
            used = self._in_use(*(other for other in self._users if other != job))
            earlier = [name for name in wanted if used.get(name, wanted[name]) != wanted[name]]
            room = room_for(tuple(wanted), tuple(self._loaded), frozenset(used), self._limit)
            if not earlier and room is not None:
                return wanted, (*room, *self._outdated(present))
            self._say(f"jobs that use an earlier version of {earlier[0]}" if earlier else _ROOM)
            await self._freed.wait()

    def _in_use(self, *jobs: str) -> dict[str, Version]:
        """Returns the models that these jobs use, parts first; all jobs use equal versions."""
        return {name: v for job in jobs for name, v in self._users[job].items()}

    def _say(self, reason: str) -> None:
        """Reports to all jobs in line what the first one waits for."""
        self._reason = reason
        for waits in self._queue.values():
            waits(reason)

    async def _serve(self, job: str, unload: Sequence[str], companion: Companion) -> frozenset[str]:
        """Loads the job's models; returns those that the repository lost (none: all are loaded)."""
        for attempt in range(_TRIES):
            container = await companion.up()
            try:
                async with self._talking:
                    triton = self._triton(companion, container)
                    lost = await self._bring(triton, unload, self._users[job])
                    if not lost:
                        self._served.add(job)
                        await self._write()
                return lost
            except GoneError as error:
                if attempt + 1 == _TRIES:
                    raise gone(error) from error
                await asyncio.sleep(_RETRY)  # its keeper notices the end and restarts it
        raise AssertionError("the last try returns or raises")

    def drop(self, job: str) -> None:
        """Ends the job's use of its models; they stay loaded for the next job."""
        self._expected.discard(job)
        self._users.pop(job, None)
        self._served.discard(job)
        self._freed.set()

    # --- for the repository --------------------------------------------------------------------

    def serves(self, job: str) -> bool:
        """Returns whether the job uses models."""
        return job in self._users

    async def tidy(self, companion: Companion) -> bool:
        """Unloads unused models that were replaced or deleted: they would occupy memory and disk.

        Returns False if it has to be called again, because the server is starting.
        """
        self._freed.set()  # jobs in line may need other models now
        if self._line.locked():
            return True  # the first job in line does this
        if not companion.fit or companion.container is None:
            return not self._loaded
        async with self._line, self._talking:
            outdated = self._outdated(await self._present())
            with contextlib.suppress(GoneError):
                await self._bring(self._triton(companion, companion.container), outdated, {})
        return True

    def _outdated(self, present: Mapping[str, Stored]) -> tuple[str, ...]:
        used = self._in_use(*self._users)
        return tuple(
            name
            for name, version in self._loaded.items()
            if name not in used and version != _now(name, present)
        )

    # --- for the companion ---------------------------------------------------------------------

    async def fit(self, companion: Companion, container: str) -> None:
        """Waits until a started server is ready, and reloads the models that running jobs use.

        Raises ServiceError if it is not ready in time, or ends.
        """
        triton = self._triton(companion, container)
        try:
            async with asyncio.timeout(companion.limits.start):
                await poll(partial(self._answers, triton))
        except TimeoutError as error:
            raise ServiceError(
                f"{companion.name} was not ready within {companion.limits.start:g} s"
                f" (inference.start_seconds); its log: {companion.log_path}"
            ) from error
        try:
            async with self._talking:
                if container != self._container:
                    self._loaded = await self._found(triton, container)
                    self._container = container
                    await self._again(triton)
        except GoneError as error:
            raise ServiceError(f"{companion.name} {error}") from error

    async def _answers(self, triton: Triton) -> bool:
        try:
            return await triton.ready()
        except RunnerUnavailableError:  # containers run without Podman's service
            return False

    async def _found(self, triton: Triton, container: str) -> dict[str, Version | None]:
        """Returns the models loaded in a container that another daemon may have started."""
        recorded = await in_thread(self._read)
        for job in self._expected & recorded.users.keys():
            self._users.setdefault(job, recorded.users[job])
            self._served.add(job)
        self._expected.clear()
        known = recorded.loaded if recorded.container == container else {}
        names = await triton.loaded()
        return {
            **{name: version for name, version in known.items() if name in names},
            **{name: None for name in names if name not in known},
        }

    async def _again(self, triton: Triton) -> None:
        for name, version in self._in_use(*self._served).items():
            if name not in self._loaded:
                try:
                    await self._load_one(triton, name, version)
                except ModelNotReadyError as error:  # its job will find out; load the others
                    _log.error("model not loaded again", extra={"reason": str(error)})

    # --- loading -------------------------------------------------------------------------------

    async def _bring(
        self, triton: Triton, unload: Sequence[str], wanted: Mapping[str, Version]
    ) -> frozenset[str]:
        """Loads `wanted`; returns those that the repository does not have; none: all are loaded."""
        other = [n for n, v in wanted.items() if n in self._loaded and self._loaded[n] != v]
        for name in wholes_first({*unload, *other}, self._loaded):
            if name in self._loaded:
                await triton.unload(name)
                del self._loaded[name]
                _log.info("model unloaded", extra={"model_name": name})
        known = {name: version for name, version in self._loaded.items() if version is not None}
        used = self._in_use(*self._users)
        lost = await self._view.show({n: v.stored for n, v in {**known, **used}.items()})
        lost &= frozenset(wanted)
        if lost:
            return lost
        for name, version in wanted.items():
            if self._loaded.get(name) != version or not await triton.has_ready(name):
                await self._load_one(triton, name, version)
        for name in reversed(list(wanted)):  # an ensemble is unloaded before its parts
            self._loaded[name] = self._loaded.pop(name)
        return frozenset()

    async def _load_one(self, triton: Triton, name: str, version: Version) -> None:
        self._loaded.pop(name, None)
        self._loaded[name] = None  # it may be loaded even if this fails
        try:
            await triton.load(name, self._load)
        except ModelNotReadyError:
            with contextlib.suppress(GoneError):
                if not await triton.has_ready(name):  # else an older version stays loaded
                    del self._loaded[name]
            raise
        self._loaded[name] = version
        await self._write()
        _log.info("model loaded", extra={"model_name": name})

    async def _write(self) -> None:
        record = _Record(
            container=str(self._container),
            loaded=self._loaded,
            users={job: self._users[job] for job in self._served},
        )
        await in_thread(files.replace, self._record, msgspec.json.encode(record))

    def _read(self) -> _Record:
        try:
            return decode_json(self._record.read_bytes(), _Record)
        except (OSError, msgspec.MsgspecError):  # none, or damaged: treat the server as new
            return _Record(container="", loaded={}, users={})

    def _triton(self, companion: Companion, container: str) -> Triton:
        address = next(iter(companion.networks.values()), "127.0.0.1")
        return Triton(self._runner, container, address, self._port, companion.log_path)


def _now(name: str, present: Mapping[str, Stored]) -> Version | None:
    """Returns the version that would be loaded now; None: the model cannot be loaded."""
    try:
        return compose((name,), present, len(present))[name]
    except ModelNotReadyError:
        return None
