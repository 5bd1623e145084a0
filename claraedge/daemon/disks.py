"""Builds the guard of the disks that the daemon writes to."""

from __future__ import annotations

from claraedge.appliance.ballast import Ballast
from claraedge.appliance.disk import DiskGuard, Store, measured
from claraedge.appliance.watermarks import DiskLimits
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.runner.protocol import Runner


def disk_guard(config: Config, runner: Runner, ballast: Ballast, clock: Clock) -> DiskGuard:
    """Returns a guard of the disks of the state and the inbox, and of Podman's disk."""

    async def podmans() -> tuple[int, int]:
        space = await runner.image_space()
        return space.free, space.total

    return DiskGuard(
        Store(name=f"the state folder {config.state_dir}", measure=measured(config.state_dir)),
        [
            Store(
                name=f"the inbox {config.inbox_dir}",
                measure=measured(config.inbox_dir),
                jobs_write=False,
            ),
            Store(name="Podman's images and containers", measure=podmans),
        ],
        DiskLimits(
            soft_share=config.disk.soft_percent / 100,
            soft=config.disk.soft_mb << 20,
            hard=config.disk.hard_mb << 20,
        ),
        ballast,
        clock,
    )


def advised(reason: str | None) -> str | None:
    """Returns why items wait, with what to do; None if they need not wait."""
    if reason is None:
        return None
    return f"{reason}; free some space there, then it is taken by itself"
