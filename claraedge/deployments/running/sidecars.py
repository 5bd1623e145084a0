"""Containers in the networks of a deployment that are no executables of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from claraedge.deployments.model import DeployedComponent, Deployment
from claraedge.store.database import Transaction
from claraedge.supervised.holder import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentPlace:
    """A component whose network exists."""

    component: DeployedComponent
    holder: Holder
    """Whose network namespace its executables share."""
    images: Mapping[str, str]
    """Id of an executable -> id of its image."""
    environment: Mapping[str, str]
    """Of all executables of the component."""


class Sidecars(Protocol):
    """Follows the lives of deployments."""

    def added(self, tx: Transaction, deployment: Deployment) -> None:
        """Called in the transaction that adds a deployment."""
        ...

    def begun(self, deployment: str, places: Mapping[str, ComponentPlace]) -> None:
        """Called when the executables of a deployment run, also after a start of the daemon.

        `places`: id of a component -> its place.
        """
        ...

    async def end(self, deployment: str) -> None:
        """Ends the sidecars of a deployment, while its executables and networks still exist.

        What was recorded before stays. After a cancellation it is called again.
        """
        ...
