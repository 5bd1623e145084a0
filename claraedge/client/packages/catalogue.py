"""Calls of the Packages service. A package is named as in GetPackageRequest.package."""

from __future__ import annotations

from claraedge.client.connection import Connection
from claraedge.client.packages.plain import value_of
from claraedge.client.packages.values import PackageInfo
from claraedge.wire.claraedge.v1 import packages_pb2 as pb
from claraedge.wire.claraedge.v1.packages_pb2_grpc import PackagesStub


def create(connection: Connection, manifest: str) -> PackageInfo:
    """Creates a package from the text of a manifest."""
    request = pb.CreatePackageRequest(manifest=manifest)
    return value_of(connection.unary(PackagesStub(connection.channel).Create, request), PackageInfo)


def list_all(connection: Connection, name: str = "") -> list[PackageInfo]:
    """Returns the packages in the order of their creation; only those of a name if it is given."""
    request = pb.ListPackagesRequest(name=name)
    reply = connection.unary(PackagesStub(connection.channel).List, request)
    return [value_of(package, PackageInfo) for package in reply.packages]


def get(connection: Connection, package: str) -> PackageInfo:
    """Returns a package with its manifest. Raises PackageNotFoundError."""
    request = pb.GetPackageRequest(package=package)
    return value_of(connection.unary(PackagesStub(connection.channel).Get, request), PackageInfo)


def delete(connection: Connection, package: str) -> PackageInfo:
    """Deletes a package; returns it as it was.

    Raises PackageNotFoundError, and PackageInUseError if it is deployed.
    """
    request = pb.DeletePackageRequest(package=package)
    return value_of(connection.unary(PackagesStub(connection.channel).Delete, request), PackageInfo)
