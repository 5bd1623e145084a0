"""The private networks of deployments: each has one, which deployments that depend on it join."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from claraedge.deployments.model import DeploymentPlan
from claraedge.runner.protocol import LABEL_DEPLOYMENT, LABEL_DEPLOYMENTS, Network, Runner
from claraedge.supervised.addresses import addresses


class DeploymentNetworks:
    """Creates and removes them. Their names are derived from the deployment."""

    def __init__(self, runner: Runner, instance: str, *, outside: bool) -> None:
        """`outside`: whether containers reach what this machine reaches."""
        self._runner = runner
        self._instance = instance
        self._outside = outside
        self.unlike: set[str] = set()
        """Deployments whose networks reach more or less than is set now: a network keeps that."""

    async def ensure(self, deployment: str) -> Network:
        """Returns the network of a deployment, which is created where it does not exist.

        Raises NetworkError.
        """
        name = _name(deployment)
        for network in await self._runner.networks({LABEL_DEPLOYMENT: deployment}):
            if network.name == name:
                if network.outside is not self._outside:
                    self.unlike.add(deployment)
                return network
        self.unlike.discard(deployment)
        labels = {LABEL_DEPLOYMENTS: self._instance, LABEL_DEPLOYMENT: deployment}
        return await self._runner.create_network(name, labels, outside=self._outside)

    async def remove(self, deployment: str) -> None:
        """Removes the network of a deployment. Raises NetworkError if a container is on it."""
        await self._runner.remove_network(_name(deployment))
        self.unlike.discard(deployment)

    async def remove_others(self, deployments: Collection[str]) -> None:
        """Removes the networks of all deployments but these. Raises NetworkError."""
        for network in await self._runner.networks({LABEL_DEPLOYMENTS: self._instance}):
            if network.labels.get(LABEL_DEPLOYMENT) not in deployments:
                await self._runner.remove_network(network.name)


def places(network: Network, plan: DeploymentPlan) -> Mapping[str, str]:
    """Returns, per id of a component, its address on the network of its deployment."""
    return addresses(network.subnet, [component.id for component in plan.components])


def _name(deployment: str) -> str:
    return f"claraedge-{deployment}"
