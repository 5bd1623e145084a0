"""Serves `claraedge.v1.Networks`."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from claraedge.api.packages.deployments import PHASES, POLICIES, STATUSES
from claraedge.deployments.networks.model import NetworkKind, NetworkRequest, NetworkView
from claraedge.deployments.networks.networks import PrivateNetworks
from claraedge.packages.model import RestartPolicy
from claraedge.wire.claraedge.v1 import networks_pb2 as wire

_KINDS: Mapping[NetworkKind, wire.NetworkKind.ValueType] = {
    NetworkKind.NATIVE: wire.NETWORK_KIND_NATIVE,
    NetworkKind.ROUTED: wire.NETWORK_KIND_ROUTED,
}


class NetworksServicer:
    """Implements `claraedge.v1.Networks`: Create, List, Get, Delete."""

    def __init__(self, networks: PrivateNetworks) -> None:
        self._networks = networks

    async def Create(self, request: wire.CreateNetworkRequest) -> wire.PrivateNetwork:
        policies = {number: policy for policy, number in POLICIES.items()}
        asked = NetworkRequest(
            name=request.name,
            kind=_kind(request.kind) or NetworkKind.NATIVE,
            distro=request.ros_distro,
            interface=request.interface,
            restart=policies.get(request.restart_policy, RestartPolicy.ALWAYS),
            labels=dict(request.labels),
        )
        return _network(await self._networks.create(asked))

    async def List(self, request: wire.ListNetworksRequest) -> wire.ListNetworksResponse:
        found = await self._networks.list(_kind(request.kind))
        return wire.ListNetworksResponse(networks=map(_network, found))

    async def Get(self, request: wire.GetNetworkRequest) -> wire.PrivateNetwork:
        return _network(await self._networks.get(request.network))

    async def Delete(self, request: wire.DeleteNetworkRequest) -> wire.PrivateNetwork:
        return _network(await self._networks.delete(request.network))


def _kind(number: wire.NetworkKind.ValueType) -> NetworkKind | None:
    return next((kind for kind, own in _KINDS.items() if own == number), None)


def _network(view: NetworkView) -> wire.PrivateNetwork:
    network, given = view.network, view.network.given
    created = Timestamp()
    created.FromNanoseconds(round(network.created * 1e9))
    return wire.PrivateNetwork(
        id=network.id,
        name=given.name,
        kind=_KINDS[given.kind],
        ros_distro=given.distro,
        restart_policy=POLICIES[given.restart],
        interface=given.interface,
        labels=given.labels,
        phase=PHASES[view.phase],
        status=STATUSES[view.status],
        details=view.details,
        subnet=view.subnet,
        ros_master_uri=view.master,
        used_by=network.used_by,
        created=created,
    )
