"""Calls of the Networks service. A network is named as in GetNetworkRequest.network."""

from __future__ import annotations

from collections.abc import Mapping

from claraedge.client.connection import Connection
from claraedge.client.packages.plain import value_of
from claraedge.client.packages.values import NetworkInfo
from claraedge.wire.claraedge.v1 import networks_pb2 as pb
from claraedge.wire.claraedge.v1.networks_pb2_grpc import NetworksStub


def create(
    connection: Connection, name: str, ros_distro: str = "", labels: Mapping[str, str] | None = None
) -> NetworkInfo:
    """Creates a private network; returns it before it exists. Empty `ros_distro`: without ROS."""
    request = pb.CreateNetworkRequest(name=name, ros_distro=ros_distro, labels=labels or {})
    return value_of(connection.unary(NetworksStub(connection.channel).Create, request), NetworkInfo)


def list_all(connection: Connection) -> list[NetworkInfo]:
    """Returns the private networks in the order of their creation."""
    reply = connection.unary(NetworksStub(connection.channel).List, pb.ListNetworksRequest())
    return [value_of(network, NetworkInfo) for network in reply.networks]


def get(connection: Connection, network: str) -> NetworkInfo:
    """Returns a private network. Raises NetworkNotFoundError."""
    request = pb.GetNetworkRequest(network=network)
    return value_of(connection.unary(NetworksStub(connection.channel).Get, request), NetworkInfo)


def delete(connection: Connection, network: str) -> NetworkInfo:
    """Deletes a private network; returns it before it is gone.

    Raises NetworkNotFoundError, and NetworkInUseError if deployments are on it.
    """
    request = pb.DeleteNetworkRequest(network=network)
    return value_of(connection.unary(NetworksStub(connection.channel).Delete, request), NetworkInfo)
