"""The images of one job, each resolved once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from claraedge.errors import ClaraedgeError, RunnerUnavailableError, StorageFullError
from claraedge.images.images import Images
from claraedge.runner.protocol import Image


class Lookups:
    """Caches the first resolution of each reference, so that all operators use one image."""

    def __init__(self, images: Images, secrets: Sequence[str]) -> None:
        self._images = images
        self._secrets = secrets
        self._found: dict[str, Image] = {}
        self._failed: dict[str, ClaraedgeError] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def here(self, reference: str) -> Image | None:
        """Returns the image; None if it has to be pulled first.

        Raises ImageNotFoundError if pulls are not allowed, and the error of an earlier `fetch` that
        failed.
        """
        async with self._locks[reference]:
            if reference in self._failed:
                raise self._failed[reference]
            if reference not in self._found:
                image = await self._images.here(reference)
                if image is None:
                    return None
                self._found[reference] = image
            return self._found[reference]

    async def fetch(self, reference: str) -> None:
        """Pulls the image; `here` raises errors that a retry cannot remedy.

        Raises RunnerUnavailableError or StorageFullError: try again later.
        """
        try:
            self._found[reference] = await self._images.ensure(reference, self._secrets)
        except (RunnerUnavailableError, StorageFullError):
            raise
        except ClaraedgeError as error:
            self._failed[reference] = error
