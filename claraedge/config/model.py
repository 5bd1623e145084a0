"""The whole configuration, as frozen structs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from claraedge.config.deployments import DeploymentsSettings
from claraedge.config.disk import DiskSettings, RetentionSettings
from claraedge.config.engine import (
    EngineSettings,
    InferenceSettings,
    JobsSettings,
    ServicesSettings,
)
from claraedge.config.images import ImagesSettings
from claraedge.config.inbox import InboxSettings
from claraedge.config.names import NamesSettings
from claraedge.config.sections import Days, Seconds, Section, Text


class OutboxSettings(Section, frozen=True, kw_only=True):
    """`[outbox]`: the folders for results, failed items and originals, and their retention."""

    path: Path | None = None
    """Folder for results. Default: `<state>/outbox`."""
    failed: Path | None = None
    """Folder for failed items. Default: `<state>/failed`."""
    originals: Path | None = None
    """Folder for the dropped files of successful jobs. Default: `<state>/originals`."""
    all_jobs: bool = False
    """Whether to deliver the results of jobs that were created through the API as well."""
    keep_days: Days | None = None
    """Time that results are kept. Default: until somebody removes them."""
    failed_keep_days: Days | None = None
    """Time that failed items are kept, with the originals in them. Default: until somebody removes
    them."""
    originals_keep_days: Days | None = None
    """Time that originals are kept; 0: an original is removed once its results are delivered. A
    trigger can override this. Default: until somebody removes them."""
    drop_cache: bool = True
    """Whether to remove delivered files from the system's page cache. Where CPU and GPU share
    memory, as on a Jetson, the GPU cannot use the memory that the cache uses."""
    wait_for_mounts: bool = True
    """Whether deliveries wait while the disk of their folder, which was mounted before, is not
    mounted."""


class PipelinesSettings(Section, frozen=True, kw_only=True):
    """`[pipelines]`: definitions that are registered from files."""

    path: Path | None = None
    """Folder of pipeline definitions; each file in it is a pipeline. Default:
    `<state>/pipelines.d`."""


class ApiSettings(Section, frozen=True, kw_only=True):
    """`[api]`: the gRPC server."""

    listen: tuple[Text, ...] = ()
    """Addresses to listen on in addition to the socket. Every user of the machine can call those of
    loopback (`127.0.0.1:PORT`, `[::1]:PORT`). All others (`0.0.0.0:PORT`) use TLS, so they need
    `[tls]`, and their callers the token, or a certificate."""
    unary_seconds: Seconds = 600.0
    """Maximum time of a call with one request and one response."""
    idle_seconds: Seconds = 300.0
    """Maximum time to wait for a client: for its first message, for the next message of an upload,
    and for the client to receive the next message of a stream."""


class HttpSettings(Section, frozen=True, kw_only=True):
    """`[http]`: the HTTP front, which serves the methods of gRPC as JSON."""

    enabled: bool = True
    """Whether to serve HTTP on the socket `http.sock` next to that of gRPC. Its group controls
    access, as for gRPC."""
    listen: tuple[Text, ...] = ()
    """Addresses to listen on in addition to the socket: `127.0.0.1:PORT`, `[::1]:PORT`, or others
    (`0.0.0.0:PORT`), which need `[tls]`. Callers need the token, or a certificate."""
    hosts: tuple[Text, ...] = ()
    """Names and addresses by which clients call this device, other than `localhost` and those that
    it listens on. Requests with another `Host` are refused."""
    route_seconds: Seconds = 60.0
    """Time in which a program behind a static route has to read each part of a request, and to
    begin its answer."""
    trusted_routes: tuple[Text, ...] = ()
    """Prefixes of static routes whose pages may do in a browser whatever its user may do on this
    device, as web applications that call their own server need. Pages of other routes run in a
    sandbox."""


class TlsSettings(Section, frozen=True, kw_only=True):
    """`[tls]`: encryption of all `[http] listen`, and of `[api] listen` beyond loopback. The files
    are read again when they change.
    """

    certificate: Path | None = None
    """File with the certificate of this device and its intermediate ones, as PEM. Default: no
    encryption, and no address beyond loopback."""
    key: Path | None = None
    """File with the key of the certificate, as PEM, without a password; other users must not be
    able to read it. Default: none."""
    client_ca: Path | None = None
    """File with the certificates of the authorities of clients, as PEM. Clients then have to show a
    certificate of one of them, and need no token. Default: clients show the token."""


class GpuSettings(Section, frozen=True, kw_only=True):
    """`[gpu]`: measurements of the GPUs."""

    interval_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 2.0
    """Interval between two measurements while a client watches: of `claraedge utilization --watch`,
    and of `node_monitor.Monitor/GpuMetrics`."""


class PodmanSettings(Section, frozen=True, kw_only=True):
    """`[podman]`: the Podman service."""

    socket: Path | None = None
    """The only Podman API socket to use. Default: the socket of the daemon's user, otherwise a
    Podman service that the daemon starts itself."""
    idle_seconds: Seconds = 300.0
    """Time without a call after which a Podman service that the daemon started is ended, so that it
    uses no memory. The next job starts it again, and waits about 0.3 s for it."""


class LogSettings(Section, frozen=True, kw_only=True):
    """`[log]`: the daemon's own log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    format: Literal["auto", "text", "json", "journal"] = "auto"
    """Format of the log. `auto`: `journal` where systemd reads stderr, `text` on a terminal,
    otherwise `json`."""


class Config(Section, frozen=True, kw_only=True):
    """Keys that are in no section; they come first in the file."""

    state_dir: Path
    """Folder of the state: the database and everything that has to survive a restart. Default: the
    `StateDirectory=` of systemd, otherwise `/var/lib/claraedge` for root, and
    `$XDG_STATE_HOME/claraedge` for other users."""
    runtime_dir: Path
    """Folder of the socket. Default: the `RuntimeDirectory=` of systemd, otherwise
    `/run/claraedge` for root, and `$XDG_RUNTIME_DIR/claraedge` for other users."""
    api: ApiSettings = ApiSettings()
    http: HttpSettings = HttpSettings()
    tls: TlsSettings = TlsSettings()
    inbox: InboxSettings = InboxSettings()
    names: NamesSettings = NamesSettings()
    outbox: OutboxSettings = OutboxSettings()
    pipelines: PipelinesSettings = PipelinesSettings()
    engine: EngineSettings = EngineSettings()
    services: ServicesSettings = ServicesSettings()
    inference: InferenceSettings = InferenceSettings()
    jobs: JobsSettings = JobsSettings()
    deployments: DeploymentsSettings = DeploymentsSettings()
    disk: DiskSettings = DiskSettings()
    retention: RetentionSettings = RetentionSettings()
    gpu: GpuSettings = GpuSettings()
    podman: PodmanSettings = PodmanSettings()
    images: ImagesSettings = ImagesSettings()
    log: LogSettings = LogSettings()

    @property
    def socket(self) -> Path:
        return self.runtime_dir / "claraedge.sock"

    @property
    def http_socket(self) -> Path:
        return self.runtime_dir / "http.sock"

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
    def volumes_dir(self) -> Path:
        return self.deployments.volumes or self.state_dir / "volumes"

    @property
    def images_dir(self) -> Path:
        return self.images.path or self.state_dir / "images.d"
