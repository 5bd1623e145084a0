"""Tries whether a program that runs still works, as its liveness probe says.

A probe begins after the one before has ended, and a few run at the same time on the whole device,
so that probes do not make a busy machine busier. What the machine itself cannot do is no failure of
the program.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from contextlib import AsyncExitStack

from claraedge.errors import RunnerUnavailableError
from claraedge.packages.model import LivenessProbe
from claraedge.runner.protocol import Runner
from claraedge.supervised.container import SupervisedContainer

_log = logging.getLogger(__name__)

_LOCALHOST = "127.0.0.1"
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})( [^\r\n]*)?\r?\n")
#: Bytes of an answer that are read, so that the program does not see a broken connection.
#: Source: Kubernetes, pkg/probe/http.
_ANSWER = 10 * 1024


class ProbeFailedError(Exception):
    """The program failed a probe; the argument says how."""


class Probing:
    """Probes one executable, again and again."""

    def __init__(self, runner: Runner, probe: LivenessProbe, turns: asyncio.Semaphore) -> None:
        """`turns`: whoever has one may probe."""
        self._runner = runner
        self._probe = probe
        self._turns = turns

    async def until_failed(self, supervised: SupervisedContainer, container: str) -> str:
        """Returns once a running container has failed as often as the probe allows: how, for
        people.
        """
        probe, failures, successes, noted = self._probe, 0, 0, False
        addresses = _addresses(supervised)
        await asyncio.sleep(probe.delay)
        while True:
            try:
                async with self._turns:
                    await self._try(container, addresses)
            except ProbeFailedError as failure:
                failures, successes = failures + 1, 0
                if failures >= probe.failures:
                    times = "once" if failures == 1 else f"{failures} times"
                    return f"its liveness probe failed {times}: {failure}"
            except (OSError, RunnerUnavailableError) as error:
                if not noted:
                    extra = {"deployment": supervised.name, "reason": str(error)}
                    _log.warning("a liveness probe could not be made", extra=extra)
                noted = True
            else:
                successes, noted = successes + 1, False
                if successes >= probe.successes:
                    failures = 0
            await asyncio.sleep(probe.period)

    async def _try(self, container: str, addresses: Iterable[str]) -> None:
        """Makes one probe. Raises ProbeFailedError, and OSError or RunnerUnavailableError if this
        machine cannot make it.
        """
        port, seconds = self._probe.port, self._probe.timeout
        for address in addresses:
            async with AsyncExitStack() as stack:
                dialing = self._runner.dial(container, address, port, seconds=seconds)
                try:
                    stream = await stack.enter_async_context(dialing)
                except ConnectionError:
                    continue
                if self._probe.path:
                    await self._ask(*stream)
                return
        raise ProbeFailedError(f"it does not accept connections at port {port}")

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Sends a request of HTTP. Raises ProbeFailedError if the answer is no success."""
        path, port, seconds = self._probe.path, self._probe.port, self._probe.timeout
        asked = f"GET {path} at port {port}"
        head = f"Host: localhost:{port}\r\nUser-Agent: claraedge\r\nAccept: */*"
        writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\nConnection: close\r\n\r\n".encode())
        line, status = b"", None
        try:
            async with asyncio.timeout(seconds):
                line = await reader.readline()
                status = _STATUS.fullmatch(line)
                await _drain(reader)
        except TimeoutError as error:
            if not line:
                raise ProbeFailedError(f"{asked} got no answer within {seconds} s") from error
        except (ConnectionError, ValueError) as error:  # a line without end
            if status is None:
                raise ProbeFailedError(f"{asked} got no answer of HTTP") from error
        if status is None:
            raise ProbeFailedError(f"{asked} got no answer of HTTP")
        if not 200 <= (code := int(status[1])) < 400:
            raise ProbeFailedError(f"{asked} got the status {code}")


def _addresses(supervised: SupervisedContainer) -> tuple[str, ...]:
    """Returns localhost, and the address of the component: a program may listen at either."""
    networks = {} if supervised.holder is None else supervised.holder.networks
    return (_LOCALHOST, *[address for address in networks.values() if address][:1])


async def _drain(reader: asyncio.StreamReader) -> None:
    left = _ANSWER
    while left > 0 and (chunk := await reader.read(left)):
        left -= len(chunk)
