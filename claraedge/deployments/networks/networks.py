"""The named private networks of this device: creation, listing, removal, and their lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from claraedge.blocking import in_thread, to_its_end
from claraedge.bugs import known
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
    ClaraedgeError,
    NetworkMasterError,
    NetworkNotFoundError,
    RunnerUnavailableError,
)
from claraedge.packages.ids import NewKindId
from claraedge.runner.protocol import (
    LABEL_NETWORK,
    LABEL_NETWORK_NAME,
    LABEL_NETWORKS,
    Container,
)
from claraedge.store.database import Database
from claraedge.supervised.addresses import address
from claraedge.supervised.orphans import OrphanContainers
from claraedge.supervised.workshop import ContainerKind
from claraedge.waiting.patience import until_done
from claraedge.waiting.until import wait_set

_log = logging.getLogger(__name__)

MASTERS = ContainerKind(
    noun="network",
    mark=LABEL_NETWORKS,
    key=LABEL_NETWORK,
    title=LABEL_NETWORK_NAME,
    error=NetworkMasterError,
)
_RETRY = 1.0


class PrivateNetworks:
    """Keeps private networks and their ROS masters.

    Call `prepare` at start, then `run` until it is cancelled; networks and masters stay after it.
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
        self._database = database
        self._site = site
        self._interfaces = interfaces
        self._new_id = new_id
        self._live: dict[str, LiveNetwork] = {}
        self._new: list[LiveNetwork] = []
        self._wake = asyncio.Event()
        self._orphans = OrphanContainers(site.workshop, site.clock, self._known)
        self._adopted = False
        self._tidy = False

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
            live = self._live[network.id] = LiveNetwork(self._site, network)
            self._new.append(live)
            self._wake.set()

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

    # --- the lives -----------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Reads which networks there are, and adopts their ROS masters.

        If Podman does not answer, `run` does that.
        """
        for network in await self._database.read(records.listed):
            self._live[network.id] = LiveNetwork(self._site, network)
        try:
            await self._adopt()
        except RunnerUnavailableError as error:
            extra = {"reason": str(error)}
            _log.warning("the search for ROS masters is repeated later", extra=extra)

    async def run(self) -> None:
        """Keeps all networks, until cancelled; raises what is a bug of its own."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                tidy = await self._tidied()
                if self._adopted:
                    new, self._new = self._new, []
                    for live in new:
                        group.create_task(self._keep(live), name=f"network {live.id}")
                await wait_set(self._wake, None if tidy else _RETRY)

    def expect_orphans(self) -> None:
        """Schedules a search for containers that nobody supervises."""
        self._orphans.expect()
        self._wake.set()

    async def _keep(self, live: LiveNetwork) -> None:
        """Controls one network until it is gone. A bug in it is that network's failure."""
        id_ = live.id

        async def attempt(failed: bool) -> None:
            if failed:
                present = {self._key(c): c for c in await self._site.workshop.present()}
                again = self._live[id_] = LiveNetwork(self._site, self._live[id_].network)
                again.adopt(present.get(id_))
            await self._live[id_].run()
            await self._database.write(partial(records.drop, network=id_))

        def note(error: Exception) -> None:
            self._live[id_].waits_for = str(known(error, "a network", network=id_))

        await until_done(attempt, note)
        del self._live[id_]
        _log.info("network removed", extra={"network": id_})

    async def _adopt(self) -> None:
        if self._adopted:
            return
        present = {self._key(c): c for c in await self._site.workshop.present()}
        for live in self._live.values():
            live.adopt(present.get(live.id))
        self._adopted = True
        self._new = list(self._live.values())
        self.expect_orphans()

    async def _tidied(self) -> bool:
        """Does what is outstanding; returns False if it has to be called again."""
        try:
            await self._adopt()
            await self._orphans.remove_orphans()
            if not self._tidy:
                await self._remove_others()
                self._tidy = True
        except ClaraedgeError as error:
            _log.debug("tidying waits", extra={"reason": str(error)})
            return False
        return self._orphans.soonest() is None

    async def _remove_others(self) -> None:
        """Removes networks of this installation that nothing is recorded of."""
        workshop = self._site.workshop
        for network in await workshop.runner.networks({LABEL_NETWORKS: workshop.instance}):
            if network.labels.get(LABEL_NETWORK) not in self._live:
                await workshop.runner.remove_network(network.name)

    def _key(self, container: Container) -> str:
        return self._site.workshop.key_of(container)

    def _known(self) -> Collection[str]:
        return {word for live in self._live.values() for word in live.names()}

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
