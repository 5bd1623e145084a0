"""How much a container may keep in file systems that lie in memory: /dev/shm, and what stands in
for folders that programs write next to a read-only root. Pure.

What lies there counts as memory of the container, and costs only what is really written. So each
holds as much as the container's memory limit; without a limit half of the machine's memory, as
Linux itself has it. Podman's own default is 64 MB of /dev/shm, which programs that pass data
between processes die of (pytorch/pytorch#5040, Project-MONAI/monai-deploy-app-sdk#283), and half of
the machine's memory for every other one.
"""

from __future__ import annotations

from dataclasses import dataclass

from claraedge.pipelines.model import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """Megabytes (2**20 bytes) of one container; None: half of the machine's memory."""

    shared_memory: int | None
    """Of /dev/shm."""
    scratch: int | None
    """Of each other one."""
    scratch_is_memory: bool = True
    """False where its root can be written, so that /tmp lies on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsRule:
    """What a site sets; None: as the memory limit of each container is."""

    shared_memory: int | None = None
    scratch: int | None = None

    def of(self, container: Container, limit: int | None) -> Tmpfs:
        """For a container with a memory limit. What its image's manifest says goes first."""
        return Tmpfs(
            shared_memory=container.shared_memory or self.shared_memory or limit,
            scratch=self.scratch or limit,
            scratch_is_memory=not container.writable_root,
        )
