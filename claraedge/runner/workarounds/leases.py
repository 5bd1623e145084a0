"""Removes the lists of used addresses that CNI's plugin `host-local` keeps of removed networks.

Podman 4 with CNI removes a network without its list: a folder with two files on the runtime tmpfs,
8 KiB of memory. Podman removes all lists when no container of the user is on any network, which a
device with a deployment never reaches.

Source: Podman 4.3.1 with CNI's plugins 1.1; sizes measured.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from claraedge.fs import removal

_log = logging.getLogger(__name__)

_FOLDER = "libpod/tmp/rootless-netns/var/lib/cni/networks"


def folder(network: str) -> Path | None:
    """Returns where the list of a network is, if there is one; None where that is unknown."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime or Path(network).name != network:
        return None
    return Path(runtime, _FOLDER, network)


def remove(network: str) -> None:
    """Removes the list of a network that was removed. A failure is only logged."""
    found = folder(network)
    if found is None:
        return
    try:
        removal.remove(found)
    except OSError as error:
        _log.warning("the list of addresses of a removed network stays: %s", error)
