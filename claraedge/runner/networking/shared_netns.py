"""The network namespace that this user's rootless containers share; Podman creates it on first use.

Podman 4 that is killed while it creates or removes the namespace leaves the mount of its name
behind, without the rest. From then on Podman assumes that the rest exists, and no container gets a
network until somebody runs `podman system migrate`, which ends all containers of the user. Once the
name is unmounted, Podman creates all of it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from pathlib import Path

from claraedge import spawn
from claraedge.blocking import in_thread
from claraedge.runner.host import Host
from claraedge.runner.service.http import Response
from claraedge.runner.service.service import PodmanService

_log = logging.getLogger(__name__)

_HALF_MADE = "failed to mount runtime directory for rootless netns"
_SECONDS = 20.0  # for unmounting the name


class SharedNetns:
    """Makes the calls of Podman that need the shared namespace."""

    def __init__(self, service: PodmanService, host: Host) -> None:
        self._service = service
        self._host = host
        self._correcting = asyncio.Lock()

    async def post(self, path: str, body: object = None) -> Response:
        """Posts a call that connects a container to its networks, and repeats it once after
        repairing a half-created namespace. Raises RunnerUnavailableError.
        """
        response = await self._service.request("POST", path, body=body)
        if not _half_made(response):
            return response
        async with self._correcting:
            response = await self._service.request("POST", path, body=body)  # corrected meanwhile?
            if _half_made(response) and await self._forget(response.reason):
                response = await self._service.request("POST", path, body=body)
        return response

    async def _forget(self, reason: str) -> bool:
        name = await self._name()
        if name is None or not await in_thread(os.path.lexists, name):
            return False
        _log.warning(
            "Podman was ended while it made the network namespace that containers share (%s):"
            " it is made again",
            reason,
        )
        command = ["podman", "unshare", "umount", "--lazy", "--", str(name)]
        try:
            code, text = await spawn.run(command, timeout=_SECONDS)
        except TimeoutError:
            code, text = 1, f"no answer within {_SECONDS:g} s"
        if code != 0:
            _log.warning("%s could not be unmounted: %s", name, text.strip())
        return code == 0

    async def _name(self) -> Path | None:
        """Returns where Podman 4 mounts the namespace for the storage in use; None
        where unknown.
        """
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if not runtime:
            return None
        static = await self._host.image_folder() / "libpod"
        key = hashlib.sha256(os.fsencode(static)).hexdigest()[:20]
        return Path(runtime, "netns", f"rootless-netns-{key}")


def _half_made(response: Response) -> bool:
    return not response.ok and _HALF_MADE in response.reason
