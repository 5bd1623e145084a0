"""The deployments of the device: how they are, what they printed, and their end."""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.web.console.pages.device.lists import ROWS, start_of
from claraedge.web.console.rendering import urlpath
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import deployments_pb2, routes_pb2

#: The kind of a state, and the key of its text, of each status.
STATUSES = {
    deployments_pb2.DEPLOYMENT_STATUS_RUNNING: ("run", "running"),
    deployments_pb2.DEPLOYMENT_STATUS_PENDING: ("wait", "pending"),
    deployments_pb2.DEPLOYMENT_STATUS_ERROR: ("bad", "error"),
    deployments_pb2.DEPLOYMENT_STATUS_STOPPED: ("stop", "stopped"),
}
PHASES = {
    deployments_pb2.DEPLOYMENT_PHASE_IN_PROGRESS: "in_progress",
    deployments_pb2.DEPLOYMENT_PHASE_PROVISIONING: "provisioning",
    deployments_pb2.DEPLOYMENT_PHASE_SUCCEEDED: "succeeded",
    deployments_pb2.DEPLOYMENT_PHASE_FAILED_TO_START: "failed_to_start",
    deployments_pb2.DEPLOYMENT_PHASE_PARTIALLY_DEPROVISIONED: "ending",
    deployments_pb2.DEPLOYMENT_PHASE_STOPPED: "stopped",
    deployments_pb2.DEPLOYMENT_PHASE_FAILED_TO_UPDATE: "failed_to_update",
}


class DeploymentPages:
    """Shows deployments, and undeploys them."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/deployments", self._list)
        yield self._pages.get("/ui/deployments/{deployment}", self._show)
        yield self._pages.post("/ui/deployments/{deployment}/undeploy", self._undeploy)

    async def _list(self, visit: Visit) -> None:
        found = await visit.ask(
            "claraedge.v1.Deployments/List",
            deployments_pb2.ListDeploymentsRequest(),
            deployments_pb2.ListDeploymentsResponse,
        )
        latest = list(reversed(found.deployments))
        ordered = [one for one in latest if not one.HasField("stopped")]
        ordered += [one for one in latest if one.HasField("stopped")]
        start = start_of(visit)
        await visit.show(
            "deployments.html",
            deployments=ordered[start : start + ROWS],
            count=len(ordered),
            start=start,
            rows=ROWS,
            statuses=STATUSES,
            phases=PHASES,
        )

    async def _show(self, visit: Visit) -> None:
        found, routes = await visit.at_once(
            visit.ask(
                "claraedge.v1.Deployments/Get",
                deployments_pb2.GetDeploymentRequest(
                    deployment=visit.request.parameters["deployment"]
                ),
                deployments_pb2.Deployment,
            ),
            visit.ask(
                "claraedge.v1.Routes/List",
                routes_pb2.ListRoutesRequest(),
                routes_pb2.ListRoutesResponse,
            ),
        )
        await visit.show(
            "deployment.html",
            deployment=found,
            routes=[one for one in routes.routes if one.target.deployment_id == found.id],
            statuses=STATUSES,
            phases=PHASES,
        )

    async def _undeploy(self, visit: Visit) -> None:
        deployment = visit.request.parameters["deployment"]
        await visit.ask(
            "claraedge.v1.Deployments/Delete",
            deployments_pb2.DeleteDeploymentRequest(deployment=deployment),
            deployments_pb2.Deployment,
        )
        await visit.go(f"/ui/deployments/{urlpath(deployment)}", "undeployed")
