"""The images of one job, each looked up once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from claraedge.images.images import Images
from claraedge.runner.protocol import Image


class Lookups:
    """Remembers what a job's references meant when it first asked: all its operators run that."""

    def __init__(self, images: Images, secrets: Sequence[str]) -> None:
        self._images = images
        self._secrets = secrets
        self._found: dict[str, Image] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def image(self, reference: str) -> Image:
        """The image, pulled where need be. Raises what `Images.ensure` does."""
        async with self._locks[reference]:
            if reference not in self._found:
                self._found[reference] = await self._images.ensure(reference, self._secrets)
            return self._found[reference]
