"""Images on this device: loaded from archives, looked up by name, pinned by id."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from claraedge.errors import ImageNotFoundError
from claraedge.runner.protocol import Image, Runner

_log = logging.getLogger(__name__)


class Images:
    """The images that operators may name."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def find(self, reference: str) -> Image:
        """The image of a reference. Raises ImageNotFoundError; nothing is ever pulled."""
        image = await self._runner.find_image(reference)
        if image is None:
            raise ImageNotFoundError(
                f"the image {reference} is not on this device; load it with"
                " `claraedge create image -f ARCHIVE.tar`"
            )
        return image

    async def list(self) -> Sequence[Image]:
        """All images, in the runner's order."""
        return await self._runner.list_images()

    async def load(self, archive: Path) -> Sequence[Image]:
        """Loads a docker-archive or oci-archive. Raises InvalidImageError."""
        images = await self._runner.load_image(archive)
        for image in images:
            _log.info("image loaded", extra={"image": image.id, "names": list(image.names)})
        return images
