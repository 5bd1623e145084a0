"""The page of the device: versions, GPUs, disks, settings, and how others call it."""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.web.console.pages.device.usage import chart_of
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import appliance_pb2, deployments_pb2

#: What an origin of a setting is called; see `texts`.
_ORIGINS = {
    appliance_pb2.SETTING_ORIGIN_FILE: "file",
    appliance_pb2.SETTING_ORIGIN_VARIABLE: "variable",
    appliance_pb2.SETTING_ORIGIN_OPTION: "option",
}


class DevicePages:
    """Shows the device."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/device", self._show)

    async def _show(self, visit: Visit) -> None:
        status, usage, found, device = await visit.at_once(
            visit.ask(
                "claraedge.v1.Appliance/Status",
                appliance_pb2.StatusRequest(),
                appliance_pb2.StatusResponse,
            ),
            visit.ask(
                "claraedge.v1.Appliance/Usage",
                appliance_pb2.UsageRequest(),
                appliance_pb2.UsageResponse,
            ),
            visit.ask(
                "claraedge.v1.Appliance/Settings",
                appliance_pb2.SettingsRequest(),
                appliance_pb2.SettingsResponse,
            ),
            visit.ask(
                "claraedge.v1.Devices/Get",
                deployments_pb2.GetDeviceRequest(),
                deployments_pb2.Device,
            ),
        )
        shows_all = visit.query.get("settings") == "all"
        await visit.show(
            "device.html",
            status=status,
            device=device,
            chart=chart_of(usage),
            settings=[one for one in found.settings if shows_all or not one.is_default],
            count=len(found.settings),
            shows_all=shows_all,
            origins=_ORIGINS,
            file=found.file,
        )
