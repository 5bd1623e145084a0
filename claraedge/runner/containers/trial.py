"""Tests a device: creates a container with an empty root and this device, checks it and removes it.

No image is needed, and nothing is run. Measured: 60 ms to create it, 10 to 100 ms to remove it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from claraedge.blocking import in_thread, to_its_end
from claraedge.errors import ClaraedgeError, ContainerError, DeviceError
from claraedge.fs import files
from claraedge.ids import new_id
from claraedge.runner.containers.creation import Creation
from claraedge.runner.containers.removal import Removal
from claraedge.runner.protocol import ContainerSpec

_log = logging.getLogger(__name__)

#: The program that a runtime requires when it initialises a container; it is never started.
_PROGRAM = "nothing"


class Trial:
    """Tests devices. `folder` is private; the containers have their root there."""

    def __init__(self, creation: Creation, removal: Removal, folder: Path) -> None:
        self._creation = creation
        self._removal = removal
        self._root = folder / "empty"
        self._log = folder / "empty.log"

    async def of(self, device: str, labels: Mapping[str, str]) -> str | None:
        """Implements Runner.try_device."""
        # The container must be removed also when the caller is cancelled.
        return await to_its_end(self._of(device, labels))

    async def _of(self, device: str, labels: Mapping[str, str]) -> str | None:
        await in_thread(self._prepare)
        spec = ContainerSpec(
            name=f"claraedge-try-{new_id()[:12]}",
            image="",
            root=self._root,
            command=(f"/{_PROGRAM}",),
            labels=labels,
            log_path=self._log,
            devices=(device,),
            writable_root=True,
        )
        try:
            container = await self._creation.create(spec)
        except ContainerError as error:
            if isinstance(error, DeviceError) or "CDI device" in str(error):
                # Remove the name from the message: it would differ each time.
                return str(error).replace(f"container {spec.name}", "a container")
            # For example a hook that fails with an empty root: with an image it may work.
            _log.info("device not tried", extra={"device": device, "reason": str(error)})
            return None
        try:
            await self._removal.remove(container)
        except ClaraedgeError as error:
            _log.warning("container left behind until the next start: %s", error)
        return None

    def _prepare(self) -> None:
        self._root.mkdir(mode=0o755, exist_ok=True)
        files.replace(self._root / _PROGRAM, b"", mode=0o755)
