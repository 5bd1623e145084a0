"""Creates, lists and removes bridge networks in Podman, and connects containers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claraedge.blocking import in_thread
from claraedge.errors import NetworkError, RunnerUnavailableError
from claraedge.runner.container_states import labels_filter
from claraedge.runner.networking.shared_netns import SharedNetns
from claraedge.runner.networks import (
    create_network_request,
    impossible,
    place,
    read_network,
    read_networks,
)
from claraedge.runner.protocol import Network
from claraedge.runner.service.answers import check_storage, removal_error
from claraedge.runner.service.service import PodmanService
from claraedge.runner.workarounds import leases


class Bridges:
    """Manages the networks of jobs and services."""

    def __init__(self, service: PodmanService, netns: SharedNetns) -> None:
        self._service = service
        self._netns = netns

    async def create(self, name: str, labels: Mapping[str, str], *, outside: bool) -> Network:
        """Implements Runner.create_network."""
        request = create_network_request(name, labels, outside=outside)
        response = await self._service.request("POST", "/networks/create", body=request)
        if not response.ok:
            check_storage(response)
            raise impossible(response.reason) or NetworkError(
                f"Podman refused the network {name}: {response.reason}"
            )
        return read_network(response.body)

    async def remove(self, name: str) -> None:
        """Implements Runner.remove_network. Raises NetworkError if Podman does not remove it."""
        # Never use `force`: it removes the containers as well, after ten seconds.
        response = await self._service.request("DELETE", f"/networks/{name}", repeatable=True)
        if response.status == 404 or (response.ok and not removal_error(response)):
            await in_thread(leases.remove, name)
            return
        reason = removal_error(response) if response.ok else response.reason
        raise NetworkError(f"network {name} could not be removed: {reason}")

    async def all(self, labels: Mapping[str, str]) -> Sequence[Network]:
        """Implements Runner.networks.

        Raises RunnerUnavailableError if Podman does not list them.
        """
        query = {"filters": labels_filter(labels)} if labels else {}
        response = await self._service.request(
            "GET", "/networks/json", query=query, repeatable=True
        )
        if not response.ok:
            raise RunnerUnavailableError(f"Podman does not list networks: {response.reason}")
        return read_networks(response.body)

    async def connect(self, container: str, network: str, address: str) -> None:
        """Implements Runner.connect."""
        response = await self._netns.post(
            f"/networks/{network}/connect", {"container": container, **place(address)}
        )
        if response.ok or "already connected" in response.reason:
            return
        raise impossible(response.reason) or NetworkError(
            f"container {container} could not be put on network {network}: {response.reason}"
        )
