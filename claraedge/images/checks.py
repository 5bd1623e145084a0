"""Compares images with what was stored, and records which are damaged.

Each image is compared by the sizes of its files once in the life of a daemon, before its first use.
It is compared by all of its content where the machine may have damaged it, when it was loaded, and
when an operator of it fails: after a power cut, the first sign of damage is a program that does not
start, or that finds one of its own files empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from claraedge.errors import ClaraedgeError, DamagedImageError
from claraedge.runner.images.images import damaged
from claraedge.runner.protocol import Damage, Image, Runner

_log = logging.getLogger(__name__)


class Checks:
    """The integrity of the images on this device."""

    def __init__(
        self,
        runner: Runner,
        *,
        is_suspect: Callable[[str], bool] = lambda _image: False,
        on_whole: Callable[[str], None] = lambda _image: None,
    ) -> None:
        """`is_suspect`: returns whether the machine may have damaged an image since its content was
        last compared. `on_whole`: called with each image whose content was compared and is intact.
        """
        self._runner = runner
        self._is_suspect = is_suspect
        self._on_whole = on_whole
        self._seen: set[str] = set()
        self._running: dict[tuple[str, bool], asyncio.Task[Damage | None]] = {}
        self._damaged: dict[str, str] = {}

    @property
    def damaged(self) -> Mapping[str, str]:
        """Ids of damaged images -> description of the damage."""
        return self._damaged

    async def check_all(self) -> None:
        """Checks all images, so that damage is known before a job uses them."""
        try:
            for image in await self._runner.list_images():
                if image.id not in self._seen:
                    await self.check(image.id, contents=False)
        except ClaraedgeError as error:  # then each is checked before its use
            _log.warning("images are not compared now", extra={"reason": str(error)})

    async def before_use(self, image: Image, reference: str) -> None:
        """Raises DamagedImageError for an image that must not run, and RunnerUnavailableError if
        Podman does not answer.
        """
        if image.id in self._seen and image.id not in self._damaged:
            return
        damage = await self.check(image.id, contents=False)
        if damage is not None:
            raise DamagedImageError(damaged(reference, damage.text), image=image.id)

    async def check(self, image: str, *, contents: bool) -> Damage | None:
        """Compares an image; concurrent callers for the same image share the work.

        `contents`: compares also what is in its files, which is always done where they may be or
        were damaged. Raises RunnerUnavailableError.
        """
        contents = contents or image in self._damaged or self._is_suspect(image)
        key = (image, contents)
        if key not in self._running:
            work = self._check(image, contents=contents)
            self._running[key] = asyncio.create_task(work, name=f"check image {image[:12]}")
            self._running[key].add_done_callback(partial(self._ended, key))
        return await asyncio.shield(self._running[key])

    def forget(self, image: str) -> None:
        """Forgets the state of an image that was removed or replaced."""
        self._seen.discard(image)
        self._damaged.pop(image, None)

    async def _check(self, image: str, *, contents: bool) -> Damage | None:
        damage = await self._runner.check_image(image, contents=contents)
        if damage is not None:
            if image not in self._damaged:
                _log.error("image damaged", extra={"image": image, "reason": damage.text})
            self._damaged[image] = damage.text
            return damage
        self.forget(image)
        self._seen.add(image)
        if contents:
            self._on_whole(image)
        return None

    def _ended(self, key: tuple[str, bool], work: asyncio.Task[Damage | None]) -> None:
        del self._running[key]
        if not work.cancelled():
            work.exception()  # mark it as retrieved: whoever waited has got it
