"""Tests which GPUs of this machine can really be given to containers, before jobs use them.

A job whose GPU cannot be used waits and shows the reason, like a job whose GPU is not present yet:
it would fail, and so would all jobs after it. Each GPU is tested once with a container that runs
nothing, and again whenever something that it depends on changes: its CDI spec, the files named
there, their modes, Podman. One that cannot be used is tested again every few seconds while somebody
asks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from claraedge.blocking import in_thread
from claraedge.errors import RunnerUnavailableError, StorageFullError
from claraedge.gpu import cdi, faults
from claraedge.runner.protocol import Runner

_log = logging.getLogger(__name__)

#: Seconds until an unusable GPU is tested again although nothing changed.
_AGAIN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    state: object
    fault: str | None
    at: float
    """Monotonic time of the test, in seconds."""


class UsableGpus:
    """Tests the GPUs of one CDI kind, and caches the results."""

    def __init__(
        self,
        runner: Runner,
        kind: str,
        labels: Mapping[str, str],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`labels`: labels of the test containers, so that whoever finds one knows its owner."""
        self._runner = runner
        self._kind = kind
        self._labels = labels
        self._now = now
        self._verdicts: dict[str, _Verdict] = {}
        self._lock = asyncio.Lock()

    async def faults(self) -> Mapping[str, str]:
        """Returns CDI name -> why this GPU cannot be used, and what to do. Usable ones are not
        included.

        Where an unreadable spec exists and no GPU is found, the key is the kind itself.
        """
        names = await in_thread(cdi.devices, self._kind)
        if not names:
            why = await in_thread(faults.none_seen)
            return {} if why is None else {self._kind: why}
        async with self._lock:
            podman = await self._runner.version()
            if podman:  # otherwise work waits for Podman, and says so
                for name in names:
                    await self._test(name, podman)
            self._verdicts = {name: v for name, v in self._verdicts.items() if name in names}
            found = {name: verdict.fault for name, verdict in self._verdicts.items()}
        return {name: fault for name, fault in found.items() if fault is not None}

    async def try_again(self, devices: Sequence[str]) -> str | None:
        """Returns why one of these cannot be used now; None where all can. Use it after a container
        could not be created.
        """
        async with self._lock:
            for device in devices:
                self._verdicts.pop(device, None)
        found = await self.faults()
        return next((found[device] for device in devices if device in found), None)

    def without_faults(self, devices: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the devices that were usable in their last test; all of them where none was."""
        good = tuple(
            device
            for device in devices
            if device not in self._verdicts or self._verdicts[device].fault is None
        )
        return good or devices

    async def _test(self, device: str, podman: str) -> None:
        """Tests a device, where that is due."""
        state = podman, await in_thread(cdi.state, device)
        last = self._verdicts.get(device)
        if (
            last is not None
            and last.state == state
            and (last.fault is None or self._now() < last.at + _AGAIN)
        ):
            return
        try:
            fault = await self._tried(device, podman)
        except (RunnerUnavailableError, StorageFullError, OSError) as error:
            _log.info("GPU not tried", extra={"device": device, "reason": str(error)})
            return
        self._verdicts[device] = _Verdict(state=state, fault=fault, at=self._now())
        if fault is not None and (last is None or last.fault != fault):
            _log.warning("GPU cannot be used", extra={"device": device, "reason": fault})
        if fault is None and last is not None and last.fault is not None:
            _log.info("GPU can be used again", extra={"device": device})

    async def _tried(self, device: str, podman: str) -> str | None:
        known = await in_thread(faults.by_spec, device)
        if known is not None:
            return known
        refusal = await self._runner.try_device(device, self._labels)
        if refusal is None:
            return None
        return await in_thread(faults.unresolved, device, podman) or refusal
