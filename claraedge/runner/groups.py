"""Gives containers the groups of this user, for device nodes that only a group may open.

By default, a rootless container has none of them. What is possible depends on the runtime:

- crun keeps the groups that Podman itself was started with, where an annotation asks for it (as
  `podman run --group-add keep-groups` does), whatever the user of the image is;
- runc sets the groups again, and can only set those that the user namespace maps. A group of the
  machine is mapped where an administrator has put it into /etc/subgid, which is rare, since that
  shifts the groups of all images.

Sources: podman-run(1), `--group-add`; crun(1), `run.oci.keep_original_groups`; runc's setupUser.
Measured with Podman 4.3.1, crun 1.8.1 and runc 1.1.5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_KEEP = {"run.oci.keep_original_groups": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The part of Podman's create call that gives a container its groups."""

    annotations: Mapping[str, str]
    added: tuple[str, ...] = ()
    """Group ids inside the container."""


NO_GROUPS = Groups(annotations={})


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupKeeper:
    """The OCI runtime and the group mapping that decide which groups a container can have."""

    runtime: str
    """The name of the OCI runtime: `crun`, `runc`."""
    mapping: Sequence[tuple[int, int, int]] = ()
    """Mapping of groups: (first id inside, first id on this machine, length)."""

    @property
    def keeps(self) -> bool:
        """Whether a container can keep groups that its user namespace does not have."""
        return self.runtime == "crun"

    def ask(self, wanted: Collection[int]) -> Groups:
        """Returns the groups to request for a container that needs these groups of the machine."""
        if not wanted:
            return NO_GROUPS
        if self.keeps:
            return Groups(annotations=_KEEP)
        mapped = (inside(group, self.mapping) for group in sorted(wanted))
        return Groups(annotations={}, added=tuple(str(n) for n in mapped if n is not None))


def needed(nodes: Iterable[str]) -> frozenset[int]:
    """Returns the groups of those device nodes that not everybody may open. Blocks.

    `nodes`: paths on this machine.
    """
    found = set()
    for node in nodes:
        try:
            status = Path(node).stat()
        except OSError:
            continue  # the error is raised when its container is created
        if status.st_mode & 0o6 != 0o6 and status.st_mode & 0o60:
            found.add(status.st_gid)
    return frozenset(found)


def inside(number: int, mapping: Sequence[tuple[int, int, int]]) -> int | None:
    """Returns the id in a user namespace of a user or group of this machine; None where it is not
    mapped.
    """
    for first, outside, count in mapping:
        if outside <= number < outside + count:
            return first + number - outside
    return None
