"""The images of one job, each looked up once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from claraedge.errors import ClaraedgeError, RunnerUnavailableError, StorageFullError
from claraedge.images.images import Images
from claraedge.runner.protocol import Image


class Lookups:
    """Remembers what a job's references meant when it first asked: all its operators run that."""

    def __init__(self, images: Images, secrets: Sequence[str]) -> None:
        self._images = images
        self._secrets = secrets
        self._found: dict[str, Image] = {}
        self._failed: dict[str, ClaraedgeError] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def here(self, reference: str) -> Image | None:
        """The image; None where it is to be fetched first.

        Raises ImageNotFoundError where nothing is pulled, and what a `fetch` of it failed of.
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
        """Has it pulled; what keeps that from working for good is told by `here`.

        Raises RunnerUnavailableError or StorageFullError: try it again later.
        """
        try:
            self._found[reference] = await self._images.ensure(reference, self._secrets)
        except (RunnerUnavailableError, StorageFullError):
            raise
        except ClaraedgeError as error:
            self._failed[reference] = error
