"""Real Podman and daemons on it, as the integration tests have them."""

from tests.integration.conftest import (
    _podman_where_marked,
    archives,
    busybox,
    runner,
    runtime_folder,
    service,
    unprivileged,
)
from tests.integration.daemon.conftest import idle_site

__all__ = [
    "_podman_where_marked",
    "archives",
    "busybox",
    "idle_site",
    "runner",
    "runtime_folder",
    "service",
    "unprivileged",
]
