"""Deployments that jobs use as services, on private networks of these jobs.

A job has one network with each component that it uses, and no other job is on it. The component
stays on that network for the next job (`networks.py` says why), at the same address. So their
number is that of the jobs that used the component at the same time, until the deployment ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from claraedge.deployments.serving import ServedComponent, ServingDeployments
from claraedge.errors import ServiceError
from claraedge.pipelines.model import Service
from claraedge.services.model import Peer
from claraedge.services.networks import JobNetworks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    service: Service
    served: ServedComponent


class DeployedServices:
    """Lets jobs reach the deployments that they use."""

    def __init__(
        self,
        deployments: ServingDeployments,
        networks: JobNetworks,
        limit: float,
        on_lost: Callable[[str, str], None],
    ) -> None:
        """`limit`: seconds in which one that is up has to accept connections. `on_lost` is called
        with (job, reason) when a job loses one for good.
        """
        self._deployments = deployments
        self._networks = networks
        self._limit = limit
        self._on_lost = on_lost

    async def up(
        self, job: str, wanted: Mapping[str, Service], note: Callable[[str], None]
    ) -> Mapping[str, _Used]:
        """Waits until all of these are up, and makes the job their user; `note` is called with
        what it waits for.

        Raises ServiceError if one does not exist, has ended, or will not be up by itself.
        """
        return {
            key: _Used(
                service=service,
                served=await self._deployments.use(
                    job,
                    service.deployment,
                    service.component,
                    waiting=note,
                    on_lost=self._on_lost,
                ),
            )
            for key, service in wanted.items()
        }

    async def connect(
        self, job: str, used: Mapping[str, _Used], note: Callable[[str], None]
    ) -> Mapping[str, Peer]:
        """Puts them on networks of the job, and returns how its operators reach them.

        Raises ServiceError if one accepts no connection, and NetworkError.
        """
        peers = {}
        for key, each in used.items():
            served = each.served
            note(f"a private network with {served.name}")
            network = await self._networks.acquire(job, (served.key,))
            address = network.addresses[served.key]
            await self._deployments.join(served, network.name, address)
            note(f"{served.name}, which has to accept connections")
            only = served.ports[0] if len(served.ports) == 1 else None
            ports = [_port(c.name, c.port or only, served) for c in each.service.http]
            await self._deployments.listens(served, address, sorted(set(ports)), self._limit)
            peers[key] = Peer(host=address, network=network.name, port=only)
        for each in used.values():  # one may have ended while another one was awaited
            self._deployments.check(each.served)
        return peers

    def came_back(self, job: str) -> None:
        """Records that a job of before this start has its deployments again, or needs none."""
        self._deployments.came_back(job)

    def leave(self, job: str) -> None:
        """Ends the use of all deployments by a job."""
        self._deployments.leave(job)


def _port(connection: str, port: int | None, served: ServedComponent) -> int:
    if port is None:
        known = ", ".join(map(str, served.ports)) or "none"
        raise ServiceError(
            f"the connection {connection} has no `port:`, and {served.name} has not exactly one"
            f" endpoint (ports of its endpoints: {known}); write the port in the pipeline"
        )
    return port
