"""The disks that the daemon writes to."""

from __future__ import annotations

from claraedge.appliance.disks import Disks, Store, measured
from claraedge.appliance.watermarks import DiskLimits
from claraedge.config import Config
from claraedge.runner.protocol import Runner


def disks(config: Config, runner: Runner) -> Disks:
    """Returns the disks of the state and the inbox, and Podman's disk."""

    async def podmans() -> tuple[int, int]:
        space = await runner.image_space()
        return space.free, space.total

    return Disks(
        Store(
            area="state",
            name=f"the state folder {config.state_dir}",
            measure=measured(config.state_dir),
        ),
        [
            Store(
                area="inbox",
                name=f"the inbox {config.inbox_dir}",
                measure=measured(config.inbox_dir),
                jobs_write=False,
            ),
            Store(area="podman", name="Podman's images and containers", measure=podmans),
        ],
        DiskLimits(
            soft_share=config.disk.soft_percent / 100,
            soft=config.disk.soft_mb << 20,
            hard=config.disk.hard_mb << 20,
        ),
    )


def advised(reason: str | None) -> str | None:
    """Returns why items wait, with what to do; None if they need not wait."""
    if reason is None:
        return None
    return f"{reason}; free some space there, then it is taken by itself"
