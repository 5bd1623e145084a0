"""The whole configuration, as frozen structs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from claraedge.config.disk import Disk, Retention
from claraedge.config.engine import Engine, Inference, Jobs, Services
from claraedge.config.images import Images
from claraedge.config.inbox import Inbox
from claraedge.config.names import Names
from claraedge.config.sections import Days, Seconds, Section, Text


class Outbox(Section, frozen=True, kw_only=True):
    """`[outbox]`."""

    path: Path | None = None
    """Default: `<state>/outbox`."""
    failed: Path | None = None
    """Default: `<state>/failed`."""
    originals: Path | None = None
    """Default: `<state>/originals`."""
    all_jobs: bool = False
    """Deliver the results of jobs that came over the API as well."""
    keep_days: Days | None = None
    """How long results are kept. Default: until somebody takes them away."""
    failed_keep_days: Days | None = None
    """The same of failures, with the originals in them."""
    originals_keep_days: Days | None = None
    """The same of originals; 0: they go once their results are delivered. A trigger may say
    otherwise."""
    drop_cache: bool = True
    """Delivered files leave the system's page cache. Where CPU and GPU share their memory, as on a
    Jetson, what is cached is missing to the GPU."""
    wait_for_mounts: bool = True
    """Nothing is put into a folder whose disk was there once and is not mounted now."""


class PipelineFiles(Section, frozen=True, kw_only=True):
    """`[pipelines]`."""

    path: Path | None = None
    """The files that lie in this folder are pipelines. Default: `<state>/pipelines.d`."""


class Api(Section, frozen=True, kw_only=True):
    """`[api]`."""

    listen: tuple[Text, ...] = ()
    """Further addresses, `127.0.0.1:PORT` or `[::1]:PORT`: anyone on the machine may call them."""
    unary_seconds: Seconds = 600.0
    """The longest that a call with one request and one answer takes."""
    idle_seconds: Seconds = 300.0
    """The longest that a stream waits for its client."""


class Gpu(Section, frozen=True, kw_only=True):
    """`[gpu]`."""

    interval_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 2.0
    """Between two messages of a utilization watch, and of node_monitor.Monitor/GpuMetrics."""


class Podman(Section, frozen=True, kw_only=True):
    """`[podman]`."""

    socket: Path | None = None
    """A Podman API socket to use. Default: the user's own, else a service that the daemon runs."""


class Log(Section, frozen=True, kw_only=True):
    """`[log]`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json", "journal"] = "auto"
    """auto: text on a terminal, journal where systemd reads it, else json."""


class Config(Section, frozen=True, kw_only=True):
    """All of it."""

    state_dir: Path
    runtime_dir: Path
    api: Api = Api()
    inbox: Inbox = Inbox()
    names: Names = Names()
    outbox: Outbox = Outbox()
    pipelines: PipelineFiles = PipelineFiles()
    engine: Engine = Engine()
    services: Services = Services()
    inference: Inference = Inference()
    jobs: Jobs = Jobs()
    disk: Disk = Disk()
    retention: Retention = Retention()
    gpu: Gpu = Gpu()
    podman: Podman = Podman()
    images: Images = Images()
    log: Log = Log()

    @property
    def socket(self) -> Path:
        return self.runtime_dir / "claraedge.sock"

    @property
    def inbox_dir(self) -> Path:
        return self.inbox.path or self.state_dir / "inbox"

    @property
    def outbox_dir(self) -> Path:
        return self.outbox.path or self.state_dir / "outbox"

    @property
    def failed_dir(self) -> Path:
        return self.outbox.failed or self.state_dir / "failed"

    @property
    def originals_dir(self) -> Path:
        return self.outbox.originals or self.state_dir / "originals"

    @property
    def pipelines_dir(self) -> Path:
        return self.pipelines.path or self.state_dir / "pipelines.d"

    @property
    def images_dir(self) -> Path:
        return self.images.path or self.state_dir / "images.d"
