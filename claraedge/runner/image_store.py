"""Podman's store of images: what is in it, what comes into it, and the room it has."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from claraedge.blocking import Threads, in_thread
from claraedge.errors import ImagePullError, InvalidImageError, RunnerUnavailableError
from claraedge.runner import images, pulls
from claraedge.runner.answers import Loaded, check_storage, decode
from claraedge.runner.host import Host
from claraedge.runner.protocol import Image, Login, Space
from claraedge.runner.service import PodmanService

T = TypeVar("T")

#: All of a question about images; the threads that ask may stay longer in a hung Podman.
_ASK = 25.0
_THREADS = 4
_LOAD = 3600.0


class ImageStore:
    """Finds, loads and pulls images. `runtime`: a private folder on a tmpfs, for credentials."""

    def __init__(self, service: PodmanService, host: Host, runtime: Path) -> None:
        self._service = service
        self._host = host
        self._runtime = runtime
        self._threads = Threads(_THREADS, "images")

    async def find(self, reference: str) -> Image | None:
        """As Runner.find_image."""
        if not reference.strip():
            return None
        response = await self._service.request(
            "GET", images.inspect_path(reference), timeout=_ASK, repeatable=True
        )
        return images.read_image(response, reference)

    async def all(self) -> Sequence[Image]:
        """As Runner.list_images."""
        return await self._ask(images.find_all)

    async def load(self, archive: Path) -> Sequence[Image]:
        """As Runner.load_image."""
        try:
            response = await self._service.request(
                "POST", "/images/load", upload=archive, timeout=_LOAD
            )
        except OSError as error:
            raise InvalidImageError(
                f"{archive} cannot be read: {error.strerror or error}"
            ) from error
        if not response.ok:
            check_storage(response)
            raise InvalidImageError(
                f"{archive.name} is no image archive that Podman can load: {response.reason}",
                "make one with `podman save --format docker-archive` or `docker save`",
            )
        loaded: dict[str, Image] = {}
        for name in decode(response, Loaded).names:
            image = await self.find(name)
            if image is not None:
                loaded[image.id] = image
        if not loaded:
            raise InvalidImageError(f"{archive.name} holds no image")
        return list(loaded.values())

    async def pull(self, name: str, *, login: Login | None, insecure: bool, limit: float) -> Image:
        """As Runner.pull_image."""
        image_id = await pulls.pull(
            name,
            login=login,
            insecure=insecure,
            limit=limit,
            runtime=self._runtime,
            store=await self._host.image_folder(),
        )
        image = await self.find(image_id)
        if image is None:
            raise ImagePullError(
                "it was pulled, but the Podman that runs the containers does not show it; let"
                " [podman] socket name the one of this user, or leave it out"
            )
        return image

    async def space(self) -> Space:
        """As Runner.image_space."""
        folder = await self._host.image_folder()
        try:
            usage = await in_thread(shutil.disk_usage, folder)
        except OSError as error:
            raise ImagePullError(
                f"Podman's storage {folder} cannot be seen: {error.strerror}"
            ) from error
        return Space(free=usage.free, total=usage.total)

    async def _ask(self, ask: Callable[[Path], T]) -> T:
        try:
            with self._service.attended():
                async with asyncio.timeout(_ASK):
                    try:
                        return await self._threads.run(ask, await self._service.socket())
                    except RunnerUnavailableError:  # once more: the service may be a new one
                        return await self._threads.run(ask, await self._service.socket())
        except TimeoutError as error:
            raise RunnerUnavailableError(
                f"Podman did not answer about images within {_ASK:g} s; if it stays so, look "
                "at the machine's load and disk, and at what `podman images` says for this user"
            ) from error
