"""Limits of containers that this machine enforces, and the warning where it does not."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from claraedge.errors import RunnerUnavailableError
from claraedge.runner.protocol import Limit, Runner

#: Limits that every container has. Others are set where a definition asks for them.
_OF_ALL = (Limit.MEMORY, Limit.PIDS)

_log = logging.getLogger(__name__)


def enforced(version: str, controllers: Collection[str]) -> frozenset[Limit]:
    """Returns the limits that rootless Podman enforces, from two values of its `/info`.

    `version` is the cgroup version of the machine; with version 1 nothing is enforced.
    `controllers` are the cgroup controllers that this user may use.
    """
    if version != "v2":
        return frozenset()
    return frozenset(limit for limit in Limit if limit.value in controllers)


def warning(limits: Collection[Limit]) -> str | None:
    """Returns a warning for the site where not all limits are in `limits`, the enforced ones; else
    None.
    """
    lacking = [limit.value for limit in _OF_ALL if limit not in limits]
    if not lacking:
        return None
    names = " and ".join(lacking)
    return (
        f"limits of {names} are not enforced: this machine does not let the user of the daemon set"
        " them. It needs cgroup v2 only (`stat -fc %T /sys/fs/cgroup` says cgroup2fs; the kernel"
        " option systemd.unified_cgroup_hierarchy=1 makes it so) and the controllers"
        f" {', '.join(lacking)} delegated to that user (`systemctl edit user@.service`, then"
        f" [Service] Delegate={' '.join(['cpu', *lacking])}, and a restart of the machine)"
    )


class Enforcement:
    """Logs once which limits are not enforced, and returns the warning at each call."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._warnings: Sequence[str] | None = None

    async def warnings(self) -> Sequence[str]:
        """Returns the warnings for `claraedge status`; none while Podman does not answer."""
        if self._warnings is None:
            try:
                text = warning(await self._runner.limits())
            except RunnerUnavailableError:
                return ()
            self._warnings = () if text is None else (text,)
            if text is not None:
                _log.warning(text)
        return self._warnings
