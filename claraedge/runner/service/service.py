"""Podman's service: the user's own where its socket answers, else a private one that is kept alive.

Running containers do not need the service: it may be killed and started at any time, and only calls
in flight are lost. A private service that nobody has called for a while is ended, and started again
by the next call: it uses some 40 MiB, and wakes the processor 50 times a second while it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from claraedge import spawn
from claraedge.blocking import in_thread
from claraedge.errors import ConfigurationError, RunnerUnavailableError
from claraedge.runner.service.containers_conf import OPTIONS, Configuration, warn_of_shared
from claraedge.runner.service.http import (
    BrokenOffError,
    Response,
    TimedOutError,
    UnreachableError,
    request,
)
from claraedge.runner.workarounds import leaked_mounts, temporary
from claraedge.waiting.until import wait_set

log = logging.getLogger(__name__)

#: All calls use this version of the API, which every later Podman supports as well.
API = "/v4.3.1/libpod"
_OLDEST = (4, 3)
_FAREWELL = 5.0  # seconds between TERM and KILL
_LAST_WORDS = 1.0  # seconds to read the rest of its output after its end
_START = 20.0  # seconds
_PING = 2.0  # seconds
_BACK_OFF = (0.1, 5.0)  # seconds: the first and the longest pause between starts
#: A service that does not answer this many pings in a row is ended.
_SILENT = 2
_SOCKET_PATH_LIMIT = 107
_SERVE = ("system", "service", "--time", "0")

_HOW_TO_INSTALL = (
    "install it with `sudo apt-get install podman uidmap slirp4netns fuse-overlayfs "
    "dbus-user-session`"
)
_HOW_TO_UPDATE = (
    "claraedge needs Podman 4.3 or newer: Debian 12 and Ubuntu 24.04 have it, Ubuntu 22.04 ships "
    "3.4 and needs an upgrade of the system or a newer podman package"
)


def user_socket(environment: Mapping[str, str]) -> Path | None:
    """Returns the path of the user's socket of systemd's `podman.socket`, whether or not it is
    active.
    """
    runtime = environment.get("XDG_RUNTIME_DIR")
    return Path(runtime, "podman/podman.sock") if runtime else None


class PodmanService:
    """The connection to Podman. An asynchronous context manager, entered on the main thread's loop.

    `runtime` is a folder of this daemon alone, mode 0700, on a tmpfs. Entering raises
    ConfigurationError where Podman is missing, too old, or cannot run for this user. A service that
    merely does not start now is started later, and calls raise RunnerUnavailableError meanwhile.
    """

    def __init__(
        self,
        runtime: Path,
        *,
        shared: Path | None = None,
        only_shared: bool = False,
        patience: float = 5.0,
        slow: float = 5.0,
        idle: float = 300.0,
    ) -> None:
        """`shared` is a socket that others keep alive, such as `user_socket()`; it is tried first.

        `only_shared`: it was configured by name, so nothing replaces it; where it does not answer,
        calls raise RunnerUnavailableError until it does. Calls wait `patience` seconds for a
        service that is down. When a call lasts longer than `slow` seconds, a private service is
        pinged, and gets as many seconds in total to answer. `idle`: seconds without a call after
        which a private service is ended until the next call.
        """
        self._slow = slow
        self._idle = idle
        self._calls = 0
        """Calls in flight."""
        self._last_call = time.monotonic()
        """When the last call ended."""
        self._wanted = asyncio.Event()
        """Cleared while a private service is not needed."""
        self._wanted.set()
        self._waking = False
        """From the end of a service that nobody calls until its next start succeeds or fails."""
        self._asking: asyncio.Task[None] | None = None
        self._only_shared = only_shared
        self._patience = patience
        self._runtime = runtime
        self._shared = shared
        self._socket: Path | None = None
        self._up = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._last_words = ""
        self._attending: set[asyncio.Task[None]] = set()
        self._conmon: Path | None = None
        self._configuration = Configuration(runtime)
        self._changing = asyncio.Lock()

    @property
    def private(self) -> bool:
        """Whether the service is our own child process."""
        return self._keeper is not None

    @property
    def resting(self) -> bool:
        """Whether the private service was ended because nobody called it; a call starts it."""
        return not self._wanted.is_set()

    @property
    def process_id(self) -> int | None:
        """The pid of the private service; None where it does not run."""
        return None if self._process is None else self._process.pid

    async def __aenter__(self) -> Self:
        if spawn.executable("podman") is None:
            raise ConfigurationError(f"podman is not installed: {_HOW_TO_INSTALL}")
        answers = self._shared is not None and await self._answers(self._shared)
        if answers or self._only_shared:
            if not answers:
                log.warning(
                    "no Podman answers at %s; work waits until one does: start it, or take"
                    " podman.socket out of the configuration",
                    self._shared,
                )
            self._socket = self._shared
            self._up.set()
            if self._shared is not None:
                await in_thread(warn_of_shared, self._shared)
            return self
        self._check_folder()
        for stale in self._runtime.glob("podman-*.sock"):
            stale.unlink(missing_ok=True)
        try:
            self._process = await self._start()
        except (RunnerUnavailableError, TimeoutError) as error:
            log.error("Podman's service does not start: %s", error)
        self._keeper = asyncio.create_task(self._keep(), name="podman service")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._up.clear()
        for task in (self._keeper, self._asking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._process is not None:
            await _end(self._process)
            self._process = None
        await asyncio.gather(*self._attending, return_exceptions=True)

    @property
    def conmon(self) -> Path | None:
        """The program that supervises the containers of a private service; None: Podman's own
        choice.
        """
        return self._conmon

    async def supervise_with(self, conmon: Path) -> None:
        """Replaces a private service by one that uses this program to supervise its containers.

        Where the new one does not start, the current service stays.
        """
        async with self._changing:
            before = self._process
            if before is None or self._conmon is not None:
                return
            self._conmon = conmon
            try:
                self._process = await self._start()
            except (ConfigurationError, RunnerUnavailableError, OSError, TimeoutError) as error:
                log.warning("Podman does not start with %s: %s", conmon, error)
                self._conmon = None
                return
        await _end(before)

    async def socket(self) -> Path:
        """Returns the socket to connect to; waits `patience` seconds for a service that is being
        restarted, and for one that nobody called as long as a start may take.

        Raises RunnerUnavailableError.
        """
        patience = _FAREWELL + _START if self._waking else self._patience
        self._wanted.set()
        if not await wait_set(self._up, patience):
            raise RunnerUnavailableError(
                "Podman's service is down and does not start" + self._hint()
            )
        assert self._socket is not None
        return self._socket

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        upload: Path | None = None,
        most: int | None = None,
        timeout: float = 60.0,
        repeatable: bool = False,
        counts: bool = True,
    ) -> Response:
        """Makes one call; `path` is below the API's prefix. At most `most` bytes of the body are
        read.

        `timeout` is in seconds. `counts`: False for a call that is no reason to keep the service
        running. A failed connection is retried for `patience` seconds; with `repeatable`, so is a
        call that broke off, since a service that dies may break off several: use it only for calls
        that may be executed more than once. Raises RunnerUnavailableError, as UnreachableError
        where the call had no effect.
        """
        deadline: float | None = None
        while True:
            socket = await self.socket()
            try:
                with self.attended(counts=counts):
                    return await request(
                        socket,
                        method,
                        API + path,
                        query=query,
                        body=body,
                        upload=upload,
                        most=most,
                        timeout=timeout,
                    )
            except TimedOutError:
                raise
            except (UnreachableError, BrokenOffError) as error:
                reached = isinstance(error, BrokenOffError)
                if reached and not repeatable:
                    raise
                if deadline is None:
                    deadline = time.monotonic() + self._patience
                if time.monotonic() >= deadline:
                    if not reached:
                        self._end_unreachable()
                    raise
                await asyncio.sleep(0.05)

    @contextlib.contextmanager
    def attended(self, *, counts: bool = True) -> Iterator[None]:
        """Watches over a call to the service: a private service that hangs meanwhile is noticed,
        ended and started again, which breaks the call off. `counts`: see `request`.
        """
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        def check() -> None:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask(self._process, self._socket))
            timers[:] = [loop.call_later(self._slow, check)]

        timers.append(loop.call_later(self._slow, check))
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if counts:
                self._last_call = time.monotonic()
            timers.pop().cancel()

    # --- the private service ----------------------------------------------------------------

    async def _ask(self, process: asyncio.subprocess.Process | None, socket: Path | None) -> None:
        """Removes mounts that the service may wait for; ends a private service that does not
        answer.
        """
        await leaked_mounts.release(None if process is None else process.pid)
        if process is None:
            return
        for _ in range(_SILENT):
            with contextlib.suppress(ConfigurationError):
                if socket is None or await self._answers(socket, self._slow / _SILENT):
                    return
        if process.returncode is None and process is self._process:
            log.error("Podman's service hangs; it is ended and started again")
            process.kill()

    async def _keep(self) -> None:
        """Starts the private service again whenever it ends, with growing pauses while it fails.

        One that is ended because nobody calls it is started by the next call.
        """
        pause = _BACK_OFF[0]
        while True:
            rested = False
            if (process := self._process) is not None:
                started = time.monotonic()
                rested = await self._watch(process)
                async with self._changing:
                    if self._process is not process:
                        continue  # `supervise_with` replaced it
                    self._up.clear()
                    self._process = None
                if rested or time.monotonic() - started > 2 * pause:
                    pause = _BACK_OFF[0]
            if rested:
                log.info("Podman's service is ended until it is needed")
                await self._wanted.wait()
            else:
                if process is not None:
                    code = process.returncode
                    log.warning("Podman's service ended with %s; it is started again", code)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _BACK_OFF[1])
            try:
                self._process = await self._start()
            except (ConfigurationError, RunnerUnavailableError, OSError, TimeoutError) as error:
                self._last_words = str(error)
                log.error("Podman's service does not start: %s", error)
            self._waking = False

    async def _watch(self, process: asyncio.subprocess.Process) -> bool:
        """Waits until a private service has ended; ends it once nobody has called it for a while.

        Returns whether it was ended for that.
        """
        ended = asyncio.ensure_future(process.wait())
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=self._left)
                async with self._changing:
                    # Either `supervise_with` ends it, or it has ended; who holds its output keeps
                    # `wait` from returning.
                    if self._process is not process or process.returncode is not None:
                        break
                    if self._left <= 0:
                        self._up.clear()
                        self._wanted.clear()
                        self._waking = True
                        await _end(process)
                        return True
        finally:
            ended.cancel()
        return False

    @property
    def _left(self) -> float:
        """Seconds until it is idle, unless it is called meanwhile."""
        return self._idle if self._calls else self._last_call + self._idle - time.monotonic()

    async def _start(self) -> asyncio.subprocess.Process:
        await leaked_mounts.release()
        # The pause process of this user must exist first: without one, the service consists of two
        # processes, and a SIGKILL of the outer one leaves the inner one running for ever.
        code, text = await spawn.run(["podman", "unshare", "true"], timeout=_START)
        if code != 0:
            said = text.strip() or f"`podman unshare true` ended with {code} and said nothing"
            raise ConfigurationError(
                f"Podman cannot run containers as user {os.getuid()}: {said}",
                "run claraedge as an ordinary user that has ranges in /etc/subuid and "
                "/etc/subgid (`sudo usermod --add-subuids 100000-165535 --add-subgids "
                "100000-165535 USER`), with XDG_RUNTIME_DIR set",
            )
        # Use a new name each time: a predecessor removes its socket when it ends, which may be
        # later.
        socket = self._runtime / f"podman-{secrets.token_hex(4)}.sock"
        # Without the file of that program, no container could be created.
        own = self._conmon if self._conmon is not None and self._conmon.exists() else None
        chosen = [] if own is None else ["--conmon", str(own)]
        scratch = contextlib.AsyncExitStack()
        environment = await in_thread(self._configuration.environment)
        try:
            folder = await scratch.enter_async_context(temporary.folder(await temporary.place()))
            environment["TMPDIR"] = str(folder)
        except OSError as error:
            log.warning("Podman's service has no folder of its own for temporary files: %s", error)
        try:
            process = await spawn.start(
                ["podman", *OPTIONS, *chosen, *_SERVE, f"unix://{socket}"],
                environment=environment,
                dies_with_parent=True,
            )
        except BaseException:
            await scratch.aclose()
            raise
        attending = asyncio.create_task(self._attend(process, scratch))
        self._attending.add(attending)
        attending.add_done_callback(self._attending.discard)
        try:
            async with asyncio.timeout(_START):
                while not await self._answers(socket):
                    if process.returncode is not None:
                        await attending
                        raise RunnerUnavailableError(
                            f"`podman system service` ended with {process.returncode}"
                            + self._hint()
                        )
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            await _end(process)
            raise RunnerUnavailableError(
                f"`podman system service` did not answer within {_START:g} s" + self._hint()
            ) from error
        except BaseException:
            await _end(process)
            raise
        self._socket = socket
        self._last_call = time.monotonic()  # whoever waited for it may call again only later
        self._up.set()
        return process

    async def _attend(
        self, process: asyncio.subprocess.Process, scratch: contextlib.AsyncExitStack
    ) -> None:
        """Waits until the service has ended, then removes its temporary files."""
        async with scratch:
            reader = asyncio.create_task(self._listen(process))
            await process.wait()
            await asyncio.wait([reader], timeout=_LAST_WORDS)
            reader.cancel()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Reads the output of the service until it ends, so that it never blocks on a full pipe."""
        assert process.stderr is not None
        while True:
            with contextlib.suppress(ValueError):  # a line over the reader's limit is dropped
                line = await process.stderr.readline()
                if not line:
                    return
                self._last_words = line.decode(errors="replace").strip()
                log.debug("podman: %s", self._last_words)

    def _end_unreachable(self) -> None:
        """Kills a private service that cannot be reached: the file of its socket was removed."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _hint(self) -> str:
        if self._keeper is None and self._socket is not None:
            return "; start it with `systemctl --user start podman.socket`"
        said = f": {self._last_words}" if self._last_words else ""
        return f"{said}; see what `podman info` says for this user"

    def _check_folder(self) -> None:
        found = self._runtime.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise ConfigurationError(
                f"{self._runtime} must belong to user {os.getuid()} alone: whoever reaches "
                f"Podman's socket in it controls the containers; `chmod 700 {self._runtime}`"
            )
        if len(os.fsencode(self._runtime)) + len("/podman-00000000.sock") > _SOCKET_PATH_LIMIT:
            raise ConfigurationError(
                f"the path of the runtime folder is too long for a socket: {self._runtime}; choose "
                "a shorter one with CLARAEDGE_RUNTIME_DIR"
            )

    @staticmethod
    async def _answers(socket: Path, limit: float = _PING) -> bool:
        """Whether a Podman answers at this socket. Raises ConfigurationError where it
        is too old.
        """
        try:
            response = await request(socket, "GET", "/libpod/_ping", timeout=limit)
        except RunnerUnavailableError:
            return False
        version = response.headers.get("libpod-api-version", "")
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if not response.ok or numbers is None:
            return False
        if (int(numbers[1]), int(numbers[2])) < _OLDEST:
            raise ConfigurationError(f"this machine has Podman {version}; {_HOW_TO_UPDATE}")
        return True


async def _end(process: asyncio.subprocess.Process) -> None:
    """Sends TERM, and KILL after `_FAREWELL` seconds. Neither affects containers."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_FAREWELL):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
