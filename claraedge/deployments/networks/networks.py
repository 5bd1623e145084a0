"""The named private networks of this device: creation, listing, removal, and their lives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from claraedge.blocking import in_thread, to_its_end
from claraedge.deployments.model import DeploymentPhase, DeploymentStatus
from claraedge.deployments.networks import records
from claraedge.deployments.networks.live import LiveNetwork, NetworkSite, ros_address
from claraedge.deployments.networks.model import (
    Joined,
    NetworkKind,
    NetworkRequest,
    NetworkView,
    PrivateNetwork,
    check_network,
    details_of,
)
from claraedge.errors import (
    NetworkMasterError,
    NetworkNotFoundError,
)
from claraedge.packages.ids import NewKindId
from claraedge.runner.protocol import (
    LABEL_NETWORK,
    LABEL_NETWORK_NAME,
    LABEL_NETWORKS,
)
from claraedge.store.database import Database
from claraedge.supervised.addresses import address
from claraedge.supervised.lives import Lives
from claraedge.supervised.workshop import ContainerKind

_log = logging.getLogger(__name__)

MASTERS = ContainerKind(
    noun="network",
    mark=LABEL_NETWORKS,
    key=LABEL_NETWORK,
    title=LABEL_NETWORK_NAME,
    error=NetworkMasterError,
)


class PrivateNetworks(Lives[LiveNetwork]):
    """Keeps private networks and their ROS masters.

    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self,
        database: Database,
        site: NetworkSite,
        interfaces: Callable[[], Collection[str]],
        new_id: NewKindId,
    ) -> None:
        """`interfaces` returns the names of this device's network interfaces, and may block."""
        super().__init__(site.workshop, site.clock)
        self._database = database
        self._site = site
        self._interfaces = interfaces
        self._new_id = new_id

    # --- for clients ---------------------------------------------------------------------------

    async def create(self, request: NetworkRequest) -> NetworkView:
        """Records a network, and begins to create it.

        Raises InvalidNetworkError with all mistakes, NetworkExistsError, NetworkLimitError.
        """
        check_network(request, await in_thread(self._interfaces))
        network = PrivateNetwork(
            id=self._new_id("net"), given=request, created=self._site.clock.now()
        )

        async def begin() -> None:
            await self._database.write(lambda tx: records.add(tx, network))
            self._begin(LiveNetwork(self._site, network))

        await to_its_end(begin())  # recorded is begun, though the client has gone
        return self._view(network)

    async def list(self, kind: NetworkKind | None = None) -> Sequence[NetworkView]:
        """Returns the networks of a kind, or all, in the order of their creation."""
        found = await self._database.read(records.listed)
        return [self._view(each) for each in found if kind in (None, each.given.kind)]

    async def get(self, text: str) -> NetworkView:
        """Returns a network by its id or name. Raises NetworkNotFoundError."""
        return self._view(await self._database.read(lambda tx: records.find(tx, text)))

    async def delete(self, text: str) -> NetworkView:
        """Records that a network is to be removed, and begins to remove it.

        Raises NetworkNotFoundError, NetworkInUseError.
        """

        async def begin() -> PrivateNetwork:
            network = await self._database.write(lambda tx: records.set_unwanted(tx, text))
            live = self._live.get(network.id)
            if live is not None:
                live.delete()
            return network

        return self._view(await to_its_end(begin()))

    # --- for deployments -----------------------------------------------------------------------

    async def joined(self, deployment: str) -> Mapping[str, Joined]:
        """Returns, per id of a component of a deployment, what it has of its networks.

        Waits until these networks can be joined. Raises NetworkNotFoundError for one that is being
        deleted, and as `LiveNetwork.existing` does.
        """
        found: dict[str, Joined] = {}
        for member in await self._database.read(lambda tx: records.memberships(tx, deployment)):
            live = self._live.get(member.network)
            if live is None:
                raise NetworkNotFoundError(f"the network {member.network} has been deleted")
            await live.existing()
            own = address(live.subnet, member.place)
            before = found.get(member.component, Joined(addresses={}, variables={}))
            ros = {"ROS_MASTER_URI": live.master, **ros_address(own)} if live.master else {}
            found[member.component] = Joined(
                addresses={**before.addresses, live.name: own},
                variables={**before.variables, **ros},
            )
        return found

    def unlike(self) -> Sequence[str]:
        """Returns the names of networks that reach more or less than is set now."""
        return sorted(live.network.given.name for live in self._live.values() if live.unlike)

    # --- the lives -----------------------------------------------------------------------------

    async def _load(self) -> Iterable[LiveNetwork]:
        found = await self._database.read(records.listed)
        return [LiveNetwork(self._site, network) for network in found]

    async def _renewed(self, life: LiveNetwork) -> LiveNetwork:
        return LiveNetwork(self._site, life.network)

    async def _remove_others(self) -> None:
        """Removes networks of this installation that nothing is recorded of."""
        workshop = self._site.workshop
        for network in await workshop.runner.networks({LABEL_NETWORKS: workshop.instance}):
            if network.labels.get(LABEL_NETWORK) not in self._live:
                await workshop.runner.remove_network(network.name)

    async def _record_end(self, life: LiveNetwork) -> None:
        await self._database.write(partial(records.drop, network=life.id))

    async def _ended(self, id_: str) -> None:
        _log.info("network removed", extra={"network": id_})

    # --- views ---------------------------------------------------------------------------------

    def _view(self, network: PrivateNetwork) -> NetworkView:
        live = self._live.get(network.id)
        if live is None:  # it has just been removed
            return NetworkView(
                network=network,
                phase=DeploymentPhase.STOPPED,
                status=DeploymentStatus.STOPPED,
                subnet="",
                master="",
                details="",
            )
        waits = self._site.allocations.waits_for(live.id) or live.waits_for
        failure = str(live.failure) if live.failure else f"it waits for {waits}" if waits else ""
        details = details_of(network.given, has_image=bool(live.image), failure=failure)
        return NetworkView(
            network=network,
            phase=live.phase,
            status=live.status,
            subnet=live.subnet,
            master=live.master,
            details=details,
        )
