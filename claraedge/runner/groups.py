"""The groups of this user in containers, for device nodes that only a group may open.

A rootless container has none of them by itself. What can be done depends on the runtime:

- crun keeps those that Podman itself was started with, where an annotation asks for it (what
  `podman run --group-add keep-groups` does), whatever the user of the image is;
- runc sets the groups again and can only set such as the user namespace has. A group of the machine
  is in it where an administrator has put it into /etc/subgid; rarely, since that shifts the groups
  of all images.

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
    """What is asked of Podman for the groups of a container."""

    annotations: Mapping[str, str]
    added: tuple[str, ...] = ()
    """Numbers in the container."""


NO_GROUPS = Groups(annotations={})


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupKeeper:
    """What makes containers here."""

    runtime: str
    """Its name: `crun`, `runc`."""
    mapping: Sequence[tuple[int, int, int]] = ()
    """Groups of containers: (first inside, first of this machine, how many)."""

    @property
    def keeps(self) -> bool:
        """Whether a container can keep groups that its user namespace does not have."""
        return self.runtime == "crun"

    def ask(self, wanted: Collection[int]) -> Groups:
        """For a container that needs these groups of the machine."""
        if not wanted:
            return NO_GROUPS
        if self.keeps:
            return Groups(annotations=_KEEP)
        mapped = (inside(group, self.mapping) for group in sorted(wanted))
        return Groups(annotations={}, added=tuple(str(n) for n in mapped if n is not None))


def needed(nodes: Iterable[str]) -> frozenset[int]:
    """The groups of those device nodes that not everybody may open. Blocks.

    `nodes`: paths on this machine.
    """
    found = set()
    for node in nodes:
        try:
            status = Path(node).stat()
        except OSError:
            continue  # the error comes where its container is made
        if status.st_mode & 0o6 != 0o6 and status.st_mode & 0o60:
            found.add(status.st_gid)
    return frozenset(found)


def inside(number: int, mapping: Sequence[tuple[int, int, int]]) -> int | None:
    """What a user or group of this machine is in a user namespace; None: it is not in it."""
    for first, outside, count in mapping:
        if outside <= number < outside + count:
            return first + number - outside
    return None
