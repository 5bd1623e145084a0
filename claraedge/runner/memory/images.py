"""The images of an in-memory device, and the registries from which it pulls."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from claraedge.errors import (
    ClaraedgeError,
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    InvalidImageError,
)
from claraedge.runner.memory.programs import Handler, Program
from claraedge.runner.protocol import MAX_FILE, Damage, Image, Login
from claraedge.runner.references import means


class MemoryImages:
    """Stores images by id, each with its program, its files and its listening ports."""

    def __init__(self) -> None:
        self.pulling: set[str] = set()
        """The names that are being pulled now."""
        self._images: dict[str, tuple[Image, Program]] = {}
        self._files: dict[str, Mapping[str, bytes]] = {}
        self._handlers: dict[tuple[str, int], Handler] = {}
        self._archives: dict[Path, list[str]] = {}
        self._gone: dict[str, tuple[Image, Program]] = {}
        """Images that were removed: loading an archive of them restores them."""
        self._damaged: dict[str, bool] = {}
        """Id -> whether only a check of the contents finds the damage."""
        self._remote: dict[str, tuple[Program, Login | None]] = {}
        self._pull_errors: dict[str, ClaraedgeError] = {}
        self._blocked_pulls: dict[str, asyncio.Event] = {}

    def __contains__(self, image: str) -> bool:
        return image in self._images

    def program(self, image: str) -> Program:
        """Returns the program of an image."""
        return self._images[image][1]

    def handler(self, image: str, port: int) -> Handler | None:
        """Returns the handler of connections to a port of its containers; None where nothing
        listens there.
        """
        return self._handlers.get((image, port))

    def find(self, reference: str) -> Image | None:
        """Returns the image that a reference means; None where there is none."""
        found = (image for image, _ in self._images.values() if means(reference, image))
        return next(found, None)

    def all(self) -> Sequence[Image]:
        """Returns the images on the device."""
        return [image for image, _ in self._images.values()]

    def add(
        self,
        name: str,
        program: Program,
        *,
        user: str = "",
        entrypoint: tuple[str, ...] = (),
        command: tuple[str, ...] = (),
        ports: tuple[int, ...] = (),
        files: Mapping[str, bytes] | None = None,
        listens: Mapping[int, Handler] | None = None,
        reserved: tuple[str, ...] = (),
    ) -> Image:
        """Adds an image to the device. An existing image with that name loses it."""
        content = hashlib.sha256(f"{name} {len(self._images)}".encode()).hexdigest()
        for image_id, (old, old_program) in self._images.items():
            kept = tuple(n for n in old.names if n != name)
            self._images[image_id] = (replace(old, names=kept), old_program)
        image = Image(
            id=content,
            names=(name,),
            digests=(f"{name.rpartition(':')[0]}@sha256:{content}",),
            size=1,
            created=0.0,
            user=user,
            entrypoint=entrypoint,
            command=command,
            ports=ports,
            reserved=reserved,
        )
        self._images[content] = (image, program)
        self._handlers |= {(content, port): each for port, each in (listens or {}).items()}
        self._files[content] = files or {}
        return image

    def remove(self, reference: str) -> None:
        """Removes an image from the device."""
        image = self.find(reference)
        if image is not None:
            self._gone[image.id] = self._images.pop(image.id)
            self._damaged.pop(image.id, None)

    def untag(self, reference: str) -> None:
        """Removes a name from an image that has others; otherwise removes the image."""
        image = self.find(reference)
        if image is not None and reference in image.names and len(image.names) > 1:
            names = tuple(name for name in image.names if name != reference)
            self._images[image.id] = (replace(image, names=names), self._images[image.id][1])
        else:
            self.remove(reference)

    def damage(self, reference: str, *, contents: bool) -> None:
        """Implements MemoryRunner.damage_image."""
        image = self.find(reference)
        assert image is not None, reference
        self._damaged[image.id] = contents

    def check(self, image: str, *, contents: bool) -> Damage | None:
        """Implements Runner.check_image."""
        if image not in self._damaged or (self._damaged[image] and not contents):
            return None
        return Damage(text="its layer 0123456789ab is damaged: bin/a is missing", images=(image,))

    def add_archive(self, archive: Path, name: str, program: Program) -> None:
        """Implements MemoryRunner.add_archive."""
        self._archives.setdefault(archive, []).append(self.add(name, program).id)

    def load(self, archive: Path) -> Sequence[Image]:
        """Implements Runner.load_image. Raises InvalidImageError if no test added the archive."""
        if archive not in self._archives:
            raise InvalidImageError("the archive holds no image")
        for image in self._archives[archive]:
            if image in self._gone:
                self._images[image] = self._gone.pop(image)
        return [self._images[i][0] for i in self._archives[archive] if i in self._images]

    def read(self, image: str, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Implements Runner.read_files.

        Raises ImageNotFoundError if a test removed the image, and InvalidImageError if a file is
        too large.
        """
        if image not in self._images:
            raise ImageNotFoundError(f"image {image} is not on this device any more")
        found = {path: self._files[image][path] for path in paths if path in self._files[image]}
        for path, content in found.items():
            if len(content) > MAX_FILE:
                raise InvalidImageError(f"{path} of image {image} is larger than {MAX_FILE} bytes")
        return found

    # --- registries ---------------------------------------------------------------------------

    def add_remote(self, name: str, program: Program, login: Login | None) -> None:
        """Adds an image to its registry; with `login`, only that login may pull it."""
        self._remote[name] = (program, login)

    def fail_pull(self, name: str, error: ClaraedgeError) -> None:
        """Makes every pull of this name raise `error`."""
        self._pull_errors[name] = error

    def block_pull(self, name: str) -> None:
        """Makes pulls of this name wait until `release_pull`."""
        self._blocked_pulls.setdefault(name, asyncio.Event())

    def release_pull(self, name: str) -> None:
        """Lets the waiting pulls of this name continue."""
        self._blocked_pulls.pop(name).set()

    async def pull(self, name: str, login: Login | None, limit: float) -> Image:
        """Implements Runner.pull_image.

        Raises ImageNotFoundError, ImageDeniedError or ImagePullError, as the test decides.
        """
        self.pulling.add(name)
        try:
            async with asyncio.timeout(limit):
                if name in self._blocked_pulls:
                    await self._blocked_pulls[name].wait()
        except TimeoutError as error:
            raise ImagePullError(f"it did not come within {limit:g} s") from error
        finally:
            self.pulling.discard(name)
        if name in self._pull_errors:
            raise self._pull_errors[name]
        if name not in self._remote:
            raise ImageNotFoundError("manifest unknown")
        program, wanted = self._remote[name]
        if wanted is not None and wanted != login:
            raise ImageDeniedError("unauthorized")
        return self.add(name, program)
