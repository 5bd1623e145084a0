"""Sizes of a container's file systems in memory: /dev/shm, and writable folders on a read-only
root. Pure.

Their content counts as memory of the container, and only what is really written uses memory. So
each may be as large as the container's memory limit; without a limit, half of the machine's memory,
as in Linux itself. Podman's own default is 64 MB for /dev/shm, with which programs that pass data
between processes fail (pytorch/pytorch#5040, Project-MONAI/monai-deploy-app-sdk#283), and half of
the machine's memory for every other one.
"""

from __future__ import annotations

from dataclasses import dataclass

from claraedge.pipelines.model import ContainerDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """Sizes for one container in megabytes (2**20 bytes); None: half of the machine's memory."""

    shared_memory: int | None
    """Size of /dev/shm."""
    scratch: int | None
    """Size of each other one."""
    scratch_is_memory: bool = True
    """False where the container's root is writable, so that /tmp is on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsRule:
    """Sizes in megabytes that a site sets; None: the memory limit of each container."""

    shared_memory: int | None = None
    scratch: int | None = None

    def of(self, container: ContainerDefinition, limit: int | None) -> Tmpfs:
        """Returns the sizes for a container with this memory limit. The manifest of its image has
        precedence.
        """
        return Tmpfs(
            shared_memory=container.shared_memory or self.shared_memory or limit,
            scratch=self.scratch or limit,
            scratch_is_memory=not container.writable_root,
        )
