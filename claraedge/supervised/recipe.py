"""The recipe of a container that is kept running: all that it is created from. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from claraedge.runner.protocol import ContainerSpec

#: The log in the specification of a recipe: replaced when the container is created.
UNNAMED = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The specification by which a container is created, as often as needed."""

    key: str
    """Identifies what the container is for: successive containers share it."""
    name: str
    """Name for messages, such as `service viewer`."""
    spec: ContainerSpec
    """Without name, labels, log, networks, and the container that it joins."""
    ports: tuple[int, ...] = ()
    """Ports at which a healthy container accepts connections."""
    memory: int
    """Megabytes that are reserved for it."""
    first_port: int | None = None
    """The first port that its image exposes."""
    folders: tuple[Path, ...] = ()
    """Folders created before it, writable by any user."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """More labels of the container."""

    @property
    def digest(self) -> str:
        """Digest of the whole specification: another specification has another digest."""
        return hashlib.sha256(repr(self.spec).encode()).hexdigest()
