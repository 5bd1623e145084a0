"""The packages of the device: what is in them, and how they are deployed."""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.web.console.pages.device.lists import ROWS, start_of
from claraedge.web.console.rendering import urlpath
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.failures import HttpError
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import deployments_pb2, packages_pb2


class PackagePages:
    """Shows packages, deploys and deletes them."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/packages", self._list)
        yield self._pages.get("/ui/packages/{package}", self._show)
        yield self._pages.post("/ui/packages/{package}/deploy", self._deploy)
        yield self._pages.post("/ui/packages/{package}/delete", self._delete)

    async def _list(self, visit: Visit) -> None:
        found = await visit.ask(
            "claraedge.v1.Packages/List",
            packages_pb2.ListPackagesRequest(),
            packages_pb2.ListPackagesResponse,
        )
        start = start_of(visit)
        await visit.show(
            "packages.html",
            packages=found.packages[start : start + ROWS],
            count=len(found.packages),
            start=start,
            rows=ROWS,
        )

    async def _show(self, visit: Visit, problem: str = "") -> None:
        """`problem`: why the form that was sent failed; it is shown again with what was entered."""
        package = await visit.ask(
            "claraedge.v1.Packages/Get",
            packages_pb2.GetPackageRequest(package=visit.request.parameters["package"]),
            packages_pb2.Package,
        )
        found = await visit.ask(
            "claraedge.v1.Deployments/List",
            deployments_pb2.ListDeploymentsRequest(package=package.id),
            deployments_pb2.ListDeploymentsResponse,
        )
        live = [one for one in found.deployments if not one.HasField("stopped")]
        await visit.show("package.html", package=package, deployments=live, problem=problem)

    async def _deploy(self, visit: Visit) -> None:
        request = deployments_pb2.CreateDeploymentRequest(
            name=visit.field("name").strip(),
            package=visit.request.parameters["package"],
            plan=visit.field("plan"),
        )
        try:
            made = await visit.ask(
                "claraedge.v1.Deployments/Create", request, deployments_pb2.Deployment
            )
        except HttpError as error:
            await self._show(visit, str(error))
            return
        await visit.go(f"/ui/deployments/{urlpath(made.id)}", "deployed")

    async def _delete(self, visit: Visit) -> None:
        await visit.ask(
            "claraedge.v1.Packages/Delete",
            packages_pb2.DeletePackageRequest(package=visit.request.parameters["package"]),
            packages_pb2.Package,
        )
        await visit.go("/ui/packages", "package_deleted")
