"""Podman's image store: lists, loads, pulls, checks and removes images, and reports its
free space.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from claraedge import spawn
from claraedge.blocking import CancelFlag, Threads, in_cancellable_thread, in_thread
from claraedge.errors import (
    DamagedImageError,
    ImageInUseError,
    ImagePullError,
    InvalidImageError,
    RunnerUnavailableError,
    StorageFullError,
)
from claraedge.fs import files
from claraedge.runner.host import Host
from claraedge.runner.images import image_archives, images, library, pulls
from claraedge.runner.images.integrity import Integrity
from claraedge.runner.protocol import Damage, Image, Login, Space
from claraedge.runner.service.answers import ImageLoadReport, check_storage, decode
from claraedge.runner.service.service import PodmanService
from claraedge.runner.workarounds import temporary

T = TypeVar("T")

#: Seconds for all calls that one query about images makes; for loading an archive; for syncing.
_ASK = 25.0
_LOAD = 3600.0
_SYNC = 600.0


class ImageStore:
    """Finds, loads, pulls, checks and removes images.

    `runtime`: a private folder on a tmpfs, for credentials.
    """

    def __init__(self, service: PodmanService, host: Host, runtime: Path) -> None:
        self._service = service
        self._host = host
        self._runtime = runtime
        self._integrity = Integrity(host)
        self._threads = Threads(4, "podman-py")  # a hanging Podman then blocks no other threads

    async def find(self, reference: str) -> Image | None:
        """Implements Runner.find_image."""
        if not reference.strip():
            return None
        response = await self._service.request(
            "GET", images.inspect_path(reference), timeout=_ASK, repeatable=True
        )
        try:
            return images.read_image(response, reference)
        except DamagedImageError as error:
            error.image = await self._id(reference)
            raise

    async def all(self) -> Sequence[Image]:
        """Implements Runner.list_images.

        Raises RunnerUnavailableError if Podman does not answer in time.
        """
        try:
            async with asyncio.timeout(_ASK):
                return await self._all()
        except TimeoutError as error:
            raise RunnerUnavailableError(images.unanswered(f"within {_ASK:g} s")) from error

    async def _all(self) -> Sequence[Image]:
        ids = await self._ask(library.image_ids)
        storage = await self._integrity.storage()
        if ids is None:  # one unreadable image keeps Podman from listing the others
            ids = () if storage is None else list(storage.ids())
        found = []
        for image_id in dict.fromkeys(ids):
            try:
                image = await self.find(image_id)
            except (DamagedImageError, images.PassingError):
                names = () if storage is None else tuple(storage.names(image_id))
                image = Image(id=image_id, names=names, digests=(), size=0, created=0.0)
            if image is not None:
                found.append(image)
        return found

    async def load(self, archive: Path) -> Sequence[Image]:
        """Implements Runner.load_image.

        Raises InvalidImageError if the archive contains no image.
        """
        names = await self._loaded(archive)
        loaded: dict[str, Image] = {}
        for name in names:
            image = await self.find(name)
            if image is not None:
                loaded[image.id] = image
        if not loaded:
            raise InvalidImageError(
                "the archive holds no image; write one with `docker save IMAGE -o image.tar`"
            )
        return list(loaded.values())

    async def _loaded(self, archive: Path) -> Sequence[str]:
        store = await self._host.image_folder()
        try:
            async with temporary.folder(store / "tmp") as folder:
                plain = await in_cancellable_thread(_unpacked, archive, folder / "image.tar")
                response = await self._service.request(
                    "POST", "/images/load", upload=plain, timeout=_LOAD
                )
        except OSError as error:
            if files.is_full(error):
                raise StorageFullError(
                    f"{error.filename or store}: the disk is full; free some space there"
                ) from error
            raise InvalidImageError(
                f"{archive} cannot be read: {error.strerror or error}"
            ) from error
        except ValueError as error:
            raise InvalidImageError(f"the archive is not loaded: {error}") from error
        if not response.ok:
            check_storage(response)
            reason = await in_thread(image_archives.why, archive, response.reason)
            raise InvalidImageError(f"the archive is not loaded: {reason}")
        await self._sync(store)
        return decode(response, ImageLoadReport).names or []

    async def pull(self, name: str, *, login: Login | None, insecure: bool, limit: float) -> Image:
        """Implements Runner.pull_image.

        Raises ImagePullError if Podman does not find the image after the pull.
        """
        store = await self._host.image_folder()
        image_id = await pulls.pull(
            name, login=login, insecure=insecure, limit=limit, runtime=self._runtime, store=store
        )
        image = await self.find(image_id)
        if image is None:
            raise ImagePullError(
                "it was pulled, but the Podman that runs the containers does not show it; let"
                " [podman] socket name the one of this user, or leave it out"
            )
        await self._sync(store)
        return image

    async def check(self, image: str, *, contents: bool) -> Damage | None:
        """Implements Runner.check_image."""
        damage = await self._integrity.check(image, contents=contents)
        if damage is None:
            try:
                await self.find(image)
            except DamagedImageError as error:
                damage = Damage(text=error.what, images=(image,))
        return damage

    async def remove(self, reference: str, *, force: bool) -> None:
        """Implements Runner.remove_image."""
        image_id = await self._id(reference) or (await self._find_id(reference))
        if image_id is None:
            return
        if not force:
            await self._refuse_used(reference, image_id)
        await self._ask(library.remove_image, reference)

    async def space(self) -> Space:
        """Implements Runner.image_space.

        Raises ImagePullError if the folder of images cannot be read.
        """
        folder = await self._host.image_folder()
        try:
            usage = await in_thread(shutil.disk_usage, folder)
        except OSError as error:
            raise ImagePullError(
                f"Podman's storage {folder} cannot be read ({error.strerror}); let this user"
                " read it"
            ) from error
        return Space(free=usage.free, total=usage.total)

    async def _refuse_used(self, reference: str, image_id: str) -> None:
        """Raises ImageInUseError where containers were created from the image: they would be
        removed with it.
        """
        users = await self._ask(library.users_of_image, image_id)
        if users:
            raise ImageInUseError(
                f"the image {reference} is not removed: {len(users)} containers are made of it"
                f" ({', '.join(users[:3])}); wait until their jobs have ended, or cancel those"
            )

    async def _ask(self, call: Callable[..., T], *args: str) -> T:
        """Runs a repeatable call of podman-py in a thread; `call` gets the path of Podman's socket
        first.
        """
        with self._service.attended():
            try:
                return await self._threads.run(call, await self._service.socket(), *args)
            except RunnerUnavailableError:  # try once more: the service may have been restarted
                return await self._threads.run(call, await self._service.socket(), *args)

    async def _id(self, reference: str) -> str:
        """Returns the id of an image by Podman's files alone; empty where they do not list it."""
        storage = await self._integrity.storage()
        return (storage and storage.identify(reference)) or ""

    async def _find_id(self, reference: str) -> str | None:
        found = await self.find(reference)
        return None if found is None else found.id

    async def _sync(self, store: Path) -> None:
        """Syncs what was stored to the disk: Podman's storage syncs no file of a layer.

        Raises RunnerUnavailableError where that fails.
        """
        try:
            code, said = await spawn.run(["sync", "--file-system", str(store)], timeout=_SYNC)
        except TimeoutError:
            code, said = -1, f"it took longer than {_SYNC:g} s"
        if code != 0:
            raise RunnerUnavailableError(
                f"the disk of Podman's storage {store} does not confirm what was written:"
                f" {said.strip()}; check it (`dmesg`, `smartctl -a`), and load the image again"
            )


def _unpacked(flag: CancelFlag, archive: Path, scratch: Path) -> Path:
    return image_archives.unpacked(flag, archive, scratch) or archive
