"""The words of rapyuta.io for what this device has, and its form of times. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from claraedge.wire.claraedge.v1 import deployments_pb2 as wire
from claraedge.wire.claraedge.v1 import packages_pb2

Phase: TypeAlias = wire.DeploymentPhase.ValueType
Status: TypeAlias = wire.DeploymentStatus.ValueType
Policy: TypeAlias = packages_pb2.RestartPolicy.ValueType

#: The only user: a device has no others.
USER = "user-claraedge"

PHASES: Mapping[Phase, str] = {
    wire.DEPLOYMENT_PHASE_IN_PROGRESS: "In progress",
    wire.DEPLOYMENT_PHASE_PROVISIONING: "Provisioning",
    wire.DEPLOYMENT_PHASE_SUCCEEDED: "Succeeded",
    wire.DEPLOYMENT_PHASE_FAILED_TO_START: "Failed to start",
    wire.DEPLOYMENT_PHASE_PARTIALLY_DEPROVISIONED: "Partially deprovisioned",
    wire.DEPLOYMENT_PHASE_STOPPED: "Deployment stopped",
    wire.DEPLOYMENT_PHASE_FAILED_TO_UPDATE: "Failed To Update",
}
STATUSES: Mapping[Status, str] = {
    wire.DEPLOYMENT_STATUS_UNKNOWN: "Unknown",
    wire.DEPLOYMENT_STATUS_RUNNING: "Running",
    wire.DEPLOYMENT_STATUS_PENDING: "Pending",
    wire.DEPLOYMENT_STATUS_ERROR: "Error",
    wire.DEPLOYMENT_STATUS_STOPPED: "Stopped",
}
POLICIES: Mapping[Policy, str] = {
    packages_pb2.RESTART_POLICY_ALWAYS: "always",
    packages_pb2.RESTART_POLICY_ON_FAILURE: "on-failure",
    packages_pb2.RESTART_POLICY_NEVER: "no",
}
#: What `uname -m` prints for the architecture of a device.
PROCESSORS: Mapping[str, str] = {"amd64": "x86_64", "arm64v8": "aarch64", "arm32v7": "armv7l"}


def time_text(time: Timestamp) -> str | None:
    """Returns a time as `2026-11-30T12:00:00.000000Z`; None if it is not set."""
    if time == Timestamp():
        return None
    return time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
