"""Checks whether an image is still as it was stored, by the sizes or by the contents of its files.

Contents are read by `podman unshare`, because an image has files that this user may not read, and
are hashed here: 5 GB take some 15 s of one core, and nothing is written. `podman save` compares as
well, but first copies each layer to a temporary folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal

import msgspec

from claraedge import spawn
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, wait_out
from claraedge.errors import RunnerUnavailableError
from claraedge.runner.host import Host
from claraedge.runner.images import layers
from claraedge.runner.images.layers import DamageError, Layer, Storage
from claraedge.runner.protocol import Damage

_log = logging.getLogger(__name__)

#: Seconds for the check of a whole image.
_LIMIT = 1800.0
#: Exit codes of the reading process that allow a verdict about the files: all were read (0), `cat`
#: could not read some (123), or it still runs, as the files have more bytes than they should
#: (None). After any other code nothing is known of the files.
_READ = (0, 123, None)
_END = 5.0  # seconds for the reading process to end


class Integrity:
    """Compares images with what was recorded when they were stored."""

    def __init__(self, host: Host) -> None:
        self._host = host
        #: Layers whose contents were compared -> their state at that time.
        self._whole: dict[str, int] = {}

    async def check(self, image: str, *, contents: bool) -> Damage | None:
        """Implements Runner.check_image.

        Raises RunnerUnavailableError if the image cannot be read, or not in time.
        """
        storage = await self.storage()
        if storage is None:
            return None
        try:
            async with asyncio.timeout(_LIMIT):
                for layer in storage.layers(image):
                    await self._check(layer, contents=contents)
        except DamageError as damage:
            users = await in_thread(storage.users, damage.layer)
            return Damage(text=str(damage), images=tuple(dict.fromkeys((image, *users))))
        except TimeoutError as error:
            raise RunnerUnavailableError(
                f"the image {image[:12]} was not read within {_LIMIT:g} s; check the disk"
            ) from error
        except ValueError as error:  # a name that no file can have
            text = f"the notes of its layers cannot be read ({error})"
            return Damage(text=text, images=(image,))
        except OSError as error:
            raise RunnerUnavailableError(
                f"the image {image[:12]} cannot be read ({error}); check the disk"
            ) from error
        return None

    async def storage(self) -> Storage | None:
        """Reads Podman's current records of images; None where it keeps them in another way."""
        try:
            return await in_thread(Storage, await self._host.image_folder())
        except (OSError, msgspec.MsgspecError) as error:
            _log.debug("images cannot be compared: %s", error)
            return None

    async def _check(self, layer: Layer, *, contents: bool) -> None:
        state = await in_cancellable_thread(_sizes, layer)
        if not contents or self._whole.get(layer.id) == state:
            return
        noted = await in_thread(layers.is_noted, layer)
        if noted and layer.digest:
            await _compare(layer)
        self._whole[layer.id] = state


async def _compare(layer: Layer) -> None:
    """Compares the content of a whole layer. Raises DamageError, RunnerUnavailableError."""
    names = os.memfd_create("paths", os.MFD_CLOEXEC)
    contents, end = os.pipe2(os.O_CLOEXEC)
    try:
        await in_thread(_fill, names, layer)
        try:
            process = await spawn.start(
                ["podman", "unshare", "nice", "xargs", "-0", "cat", "--"],
                source=names,
                output=end,
                errors=asyncio.subprocess.DEVNULL,
                dies_with_parent=True,
            )
        finally:
            os.close(end)
        reading = asyncio.ensure_future(in_cancellable_thread(_contents, layer, contents))
        try:
            await asyncio.shield(reading)
        except DamageError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END):
                    await process.wait()
            if process.returncode not in _READ:
                raise RunnerUnavailableError(
                    f"the layer {layer.id[:12]} could not be read: `podman unshare` ended with"
                    f" {process.returncode}"
                ) from None
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await wait_out(asyncio.ensure_future(process.wait()))
            await wait_out(reading)  # it may have waited for a process that sent nothing
    finally:
        os.close(names)
        os.close(contents)


def _sizes(flag: CancelFlag, layer: Layer) -> int:
    return layers.compare_sizes(layer, check=flag.check)


def _contents(flag: CancelFlag, layer: Layer, contents: int) -> None:
    layers.compare_contents(layer, contents, check=flag.check)


def _fill(names: int, layer: Layer) -> None:
    with os.fdopen(os.dup(names), "wb") as file:
        file.write(layers.paths(layer))
    os.lseek(names, 0, os.SEEK_SET)
