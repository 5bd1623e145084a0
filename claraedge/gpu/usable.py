"""Which GPUs of this machine can really be given to containers: tried, before jobs are.

A job whose GPU cannot be used waits, with the reason, as one waits whose GPU is not there yet: it
would fail, and so would all after it. Each GPU is tried once with a container that runs nothing,
and again whenever something changes that it depends on: its CDI spec, the files that this names,
their modes, Podman. One that cannot be used is tried again every few seconds while somebody asks.
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

#: Seconds until one that cannot be used is tried again, though nothing of it changed.
_AGAIN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    state: object
    fault: str | None
    at: float


class UsableGpus:
    """Tries the GPUs of one CDI kind, and notes what came out."""

    def __init__(
        self,
        runner: Runner,
        kind: str,
        labels: Mapping[str, str],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`labels`: of the containers that try, so that whoever finds one knows whose it was."""
        self._runner = runner
        self._kind = kind
        self._labels = labels
        self._now = now
        self._verdicts: dict[str, _Verdict] = {}
        self._lock = asyncio.Lock()

    async def faults(self) -> Mapping[str, str]:
        """CDI name -> why this GPU cannot be used, and what to do; those that can are not in it.

        The kind itself stands for all, where a spec is there that nobody can read.
        """
        names = await in_thread(cdi.devices, self._kind)
        if not names:
            why = await in_thread(faults.none_seen)
            return {} if why is None else {self._kind: why}
        async with self._lock:
            podman = await self._runner.version()
            if podman:  # else work waits for Podman, and says so
                for name in names:
                    await self._look(name, podman)
            self._verdicts = {name: v for name, v in self._verdicts.items() if name in names}
            found = {name: verdict.fault for name, verdict in self._verdicts.items()}
        return {name: fault for name, fault in found.items() if fault is not None}

    async def try_again(self, devices: Sequence[str]) -> str | None:
        """Why one of these cannot be used, as it is now: after a container could not be made."""
        async with self._lock:
            for device in devices:
                self._verdicts.pop(device, None)
        found = await self.faults()
        return next((found[device] for device in devices if device in found), None)

    def without_faults(self, devices: tuple[str, ...]) -> tuple[str, ...]:
        """Those that could be used when they were tried last; all, where none could."""
        good = tuple(
            device
            for device in devices
            if device not in self._verdicts or self._verdicts[device].fault is None
        )
        return good or devices

    async def _look(self, device: str, podman: str) -> None:
        """Tries a device, where that is due."""
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
