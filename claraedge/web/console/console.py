"""The routes of the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from claraedge.web.console import assets
from claraedge.web.console.pages.device.deployments import DeploymentPages
from claraedge.web.console.pages.device.device import DevicePages
from claraedge.web.console.pages.device.events import EventPages
from claraedge.web.console.pages.device.images import ImagePages
from claraedge.web.console.pages.device.models import ModelPages
from claraedge.web.console.pages.device.packages import PackagePages
from claraedge.web.console.pages.files import FilePages
from claraedge.web.console.pages.find import FindPages
from claraedge.web.console.pages.inbox import InboxPages
from claraedge.web.console.pages.job import JobPages
from claraedge.web.console.pages.language import LanguagePages
from claraedge.web.console.pages.logs import LogPages
from claraedge.web.console.pages.overview import OverviewPages
from claraedge.web.console.pages.pipelines import PipelinePages
from claraedge.web.console.pages.run import RunPages
from claraedge.web.console.pages.upload import UploadPages
from claraedge.web.console.visit import Daemon, Pages
from claraedge.web.http.router import Route
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream


def routes_of(methods: Mapping[str, Method], upstream: Upstream) -> Iterable[Route]:
    """Yields all routes of the console."""
    pages = Pages(Daemon(methods, upstream))
    yield from assets.routes()
    for kind in (
        OverviewPages,
        FindPages,
        JobPages,
        FilePages,
        LogPages,
        InboxPages,
        PipelinePages,
        RunPages,
        UploadPages,
        LanguagePages,
        DevicePages,
        ImagePages,
        ModelPages,
        PackagePages,
        DeploymentPages,
        EventPages,
    ):
        yield from kind(pages).routes()
