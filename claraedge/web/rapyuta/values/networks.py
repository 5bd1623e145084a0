"""Writes networks as the objects that the SDK reads. Pure."""

from __future__ import annotations

from claraedge.web.rapyuta.values.words import PHASES, POLICIES, STATUSES, USER, time_text
from claraedge.wire.claraedge.v1 import deployments_pb2
from claraedge.wire.claraedge.v1 import networks_pb2 as wire


def network(found: wire.PrivateNetwork, device: deployments_pb2.Device) -> dict[str, object]:
    """Returns a network."""
    created = time_text(found.created)
    failed = found.status == deployments_pb2.DEPLOYMENT_STATUS_ERROR
    return {
        "ID": found.id,
        "guid": found.id,
        "name": found.name,
        "runtime": "device",
        "rosDistro": found.ros_distro,
        "shared": False,
        "parameters": {
            "device_id": device.id,
            "NETWORK_INTERFACE": found.interface,
            "restart_policy": POLICIES.get(found.restart_policy, "always"),
        },
        "internalDeploymentGUID": found.id,
        "internalDeploymentStatus": {
            "phase": PHASES.get(found.phase, "In progress"),
            "status": STATUSES.get(found.status, "Unknown"),
            "error_code": ["DEP_E300"] if failed else [],
            "details": found.details,
        },
        "ownerProject": device.project,
        "creator": USER,
        "CreatedAt": created,
        "UpdatedAt": created,
        "DeletedAt": None,
    }
