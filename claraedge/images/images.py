"""Images on this device: loaded from archives, looked up by name, pulled, pinned by id."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.config import Images as Settings
from claraedge.errors import ConfigurationError, ImageNotFoundError
from claraedge.images.credentials import open_files
from claraedge.images.pulls import Pulls
from claraedge.runner.protocol import Image, Runner
from claraedge.runner.references import complete, full_names, is_id

_log = logging.getLogger(__name__)

_NO_SETTINGS = Settings()


class Images:
    """The images that operators may name."""

    def __init__(
        self,
        runner: Runner,
        settings: Settings = _NO_SETTINGS,
        *,
        held: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`held`: why no disk may be filled now; None: it may."""
        self._runner = runner
        self._settings = settings
        self._pulls = Pulls(runner, settings, self._here, held)

    async def prepare(self) -> None:
        """Looks at the files of passwords. Raises ConfigurationError for what others can read."""
        mistakes, warnings = await in_thread(open_files, self._settings.credentials)
        if mistakes:
            raise ConfigurationError(*mistakes)
        for warning in warnings:  # such a file may come before it is needed
            _log.warning("a password cannot be read now", extra={"reason": warning})

    async def find(self, reference: str) -> Image:
        """The image of a reference, which is never pulled here. Raises ImageNotFoundError.

        A name without a host means the image of that name from the configured registries, in their
        order, and then one of that name from anywhere.
        """
        image = await self._here(reference)
        if image is None:
            raise ImageNotFoundError(
                f"the image {reference} is not on this device; load it with"
                " `claraedge create image -f ARCHIVE.tar`, or let it be pulled (docs/images.md)"
            )
        return image

    async def here(self, reference: str) -> Image | None:
        """The same; None for an image that is not here and that `ensure` would pull."""
        image = await self._here(reference)
        pulled = self._settings.pull != "never" and reference and not is_id(reference)
        return image if image is not None or pulled else await self.find(reference)

    async def ensure(self, reference: str, secrets: Sequence[str]) -> Image:
        """The same; an image that is not here is pulled where `[images] pull` says so.

        `secrets` names the credentials that may be used. Callers for the same image share a pull,
        which ends within a second where the last of them is cancelled. Raises ImageNotFoundError,
        ImageDeniedError, ImagePullError, and StorageFullError where the disk is too full to begin.
        """
        image = await self.here(reference)
        return image or await self._pulls.pull(reference, tuple(secrets))

    def pulling(self) -> frozenset[str]:
        """The references that `ensure` has pulled now."""
        return self._pulls.references()

    async def _here(self, reference: str) -> Image | None:
        for name in full_names(reference, self._settings.registries):
            image = await self._runner.find_image(name)
            if image is not None:
                return image
        known = reference if not reference or is_id(reference) else complete(reference)
        return await self._runner.find_image(known)

    async def list(self) -> Sequence[Image]:
        """All images, in the runner's order."""
        return await self._runner.list_images()

    async def load(self, archive: Path) -> Sequence[Image]:
        """Loads a docker-archive or oci-archive. Raises InvalidImageError."""
        images = await self._runner.load_image(archive)
        for image in images:
            _log.info("image loaded", extra={"image": image.id, "names": list(image.names)})
        return images
