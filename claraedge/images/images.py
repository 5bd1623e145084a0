"""Images on this device: lookup by name, loading from archives, pulls, checks and removal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.config import ImagesSettings
from claraedge.errors import (
    ConfigurationError,
    ContainerError,
    DamagedImageError,
    ImageInUseError,
    ImageNotFoundError,
    ImagePullError,
    RefusedImageError,
    RegistryNotAllowedError,
    RunnerUnavailableError,
)
from claraedge.images import names
from claraedge.images.allowed import Resolve, addresses
from claraedge.images.checks import Checks
from claraedge.images.credentials import open_files
from claraedge.images.platforms import foreign, machine
from claraedge.images.pulls import Pulls
from claraedge.runner.images.images import damaged
from claraedge.runner.protocol import Damage, Image, Runner
from claraedge.runner.references import complete, full_names, is_id, means
from claraedge.runner.reserved import refusal

_log = logging.getLogger(__name__)

_NO_SETTINGS = ImagesSettings()
_SHORT = 12


class Images:
    """The images that operators can use.

    A call that needs Podman also raises RunnerUnavailableError if Podman does not answer; only
    `why_damaged`, `why_foreign` and `why_unusable` return an empty text instead.
    """

    def __init__(
        self,
        runner: Runner,
        settings: ImagesSettings = _NO_SETTINGS,
        *,
        checks: Checks | None = None,
        blocked_by: Callable[[], str | None] = lambda: None,
        resolve: Resolve = addresses,
    ) -> None:
        """`checks`: None where no power cut is known of. `blocked_by`: returns why no disk may be
        filled now; None where it may. `resolve`: resolves a host to its addresses.
        """
        self._runner = runner
        self._settings = settings
        self.checks = checks or Checks(runner)
        self._pulls = Pulls(runner, settings, self._here, blocked_by, resolve)

    async def prepare(self) -> None:
        """Checks the password files. Raises ConfigurationError for files that others can read."""
        mistakes, warnings = await in_thread(open_files, self._settings.credentials)
        if mistakes:
            raise ConfigurationError(*mistakes)
        for warning in warnings:  # the file may still appear before it is needed
            _log.warning("a password cannot be read now", extra={"reason": warning})

    async def find(self, reference: str) -> Image:
        """Returns the image of a reference, checked before use. It is never pulled by this call.

        A name without a host means the image of that name from the configured registries, in their
        order, and then one of that name from any registry. Raises ImageNotFoundError,
        RefusedImageError if the image has reserved annotations, and DamagedImageError if a check
        finds damage.
        """
        image = await self._here(reference)
        if image is None:
            raise ImageNotFoundError(names.missing(reference, await self._runner.list_images()))
        _refuse_reserved(image, reference)
        await self.checks.before_use(image, reference)
        return image

    async def here(self, reference: str) -> Image | None:
        """Returns the same, but None for a missing or damaged image that `ensure` would pull.

        A damaged one is removed first. Raises what `find` raises where nothing would be pulled.
        """
        pulled = self._settings.pull != "never" and reference and not is_id(reference)
        try:
            return await self.find(reference)
        except ImageNotFoundError:
            if not pulled:
                raise
        except DamagedImageError as error:
            if not pulled or not error.image:
                raise
            damage = await self.checks.check(error.image, contents=False)
            await self._remove_damaged(*(damage.images if damage else (error.image,)))
        return None

    async def ensure(self, reference: str, secrets: Sequence[str]) -> Image:
        """Returns the same; pulls a missing image where `[images] pull` allows it.

        `secrets` names the credentials that may be used. Callers for the same image share a pull,
        which ends within a second after the last of them is cancelled. Raises ImageNotFoundError,
        RefusedImageError, DamagedImageError, RegistryNotAllowedError, ImageDeniedError,
        ImagePullError, and StorageFullError where the disk is too full to begin.
        """
        image = await self.here(reference)
        return image or await self._pull(reference, secrets, renewed=False)

    async def renew(self, reference: str, secrets: Sequence[str]) -> Image:
        """Pulls an image again from its registry, whether it is here or not; returns it as it is
        now.

        `secrets`: see `ensure`. Raises what `ensure` raises, RegistryNotAllowedError where nothing
        may be pulled, and ImagePullError for an id.
        """
        if self._settings.pull == "never":
            raise RegistryNotAllowedError(
                f"the image {reference} is to be pulled (`imagePullPolicy: Always`), and this"
                ' device pulls no images; set [images] pull = "missing", or write `IfNotPresent`'
            )
        if is_id(reference):
            raise ImagePullError(
                f"the image {reference} is to be pulled (`imagePullPolicy: Always`), and an id has"
                " no registry; write the name of the image, or `IfNotPresent`"
            )
        with contextlib.suppress(ImageNotFoundError, RefusedImageError):
            await self.here(reference)  # a damaged one has to be removed before
        return await self._pull(reference, secrets, renewed=True)

    async def why_damaged(self, reference: str, image: str) -> str:
        """Returns the damage of an image, given by id, whose container failed; empty where there is
        none.
        """
        try:
            damage = await self.checks.check(image, contents=True)
        except RunnerUnavailableError:
            return ""
        return "" if damage is None else damaged(reference, damage.text)

    async def why_foreign(self, image: str) -> str:
        """Returns that an image is built for another machine; empty where it is not, or does not
        declare it.
        """
        try:
            found = await self._runner.find_image(image)
        except (RunnerUnavailableError, DamagedImageError):
            return ""
        return "" if found is None else foreign(found.platform, machine())

    async def why_unusable(self, reference: str, image: str) -> str:
        """Returns one of both reasons for a container that could not be created or started; else
        empty.
        """
        return await self.why_damaged(reference, image) or await self.why_foreign(image)

    def pulling(self) -> frozenset[str]:
        """Returns the references that `ensure` is pulling now."""
        return self._pulls.references()

    async def _here(self, reference: str) -> Image | None:
        for name in full_names(reference, self._settings.registries):
            image = await self._runner.find_image(name)
            if image is not None:
                return image
        known = reference if not reference or is_id(reference) else complete(reference)
        image = await self._runner.find_image(known)
        if image is None and "@" in known:  # Podman searches a digest only among names
            found = (each for each in await self._runner.list_images() if means(known, each))
            image = next(found, None)
        return image

    async def all(self) -> Sequence[Image]:
        """Returns all images, in the runner's order."""
        return await self._runner.list_images()

    def trouble(self, image: Image) -> str:
        """Returns why an image would not run; empty where no reason is known."""
        if image.reserved:
            return refusal(_shown(image), image.reserved)
        return self.checks.damaged.get(image.id, "") or foreign(image.platform, machine())

    def warnings(self) -> Sequence[str]:
        """Returns problems that need attention, for `claraedge status`."""
        return [damaged(image[:_SHORT], text) for image, text in self.checks.damaged.items()]

    async def load(self, archive: Path) -> tuple[Sequence[Image], Sequence[str]]:
        """Loads a docker-archive or oci-archive; returns the images, and warnings about them.

        Damaged images that are already present are replaced. Raises InvalidImageError if the
        archive has no image that can be read, RefusedImageError if one has reserved annotations,
        StorageFullError if the disk is full, and DamagedImageError if a second try is damaged too.
        """
        warnings: list[str] = []
        images = await self._load(archive, warnings)
        await self._admit(images)
        damage = await self._damage(images)
        if damage is not None:
            warnings += await self._remove_damaged(*damage.images)
            images = await self._load(archive, warnings)
            damage = await self._damage(images)
        if damage is not None:
            raise DamagedImageError(
                "the image was loaded twice, and is still damaged on this device:"
                f" {damage.text}; the disk does not keep what is written: check it (`dmesg`,"
                " `smartctl -a`)"
            )
        for image in images:
            _log.info("image loaded", extra={"image": image.id, "names": list(image.names)})
            problem = foreign(image.platform, machine())
            warnings += [f"{_shown(image)}: {problem}"] if problem else []
        return images, warnings

    async def remove(self, reference: str) -> Image:
        """Removes an image, or one of its several names, and returns the image as it was.

        A damaged one is removed with all its names and the containers created from it. Raises
        ImageNotFoundError, ImageInUseError if containers use it, and ContainerError if Podman
        refuses.
        """
        try:
            image = await self._here(reference)
        except DamagedImageError as error:
            await self._runner.remove_image(error.image or reference, force=True)
            self.checks.forget(error.image)
            return Image(id=error.image, names=(reference,), digests=(), size=0, created=0.0)
        if image is None:
            raise ImageNotFoundError(names.missing(reference, await self._runner.list_images()))
        named = next((n for n in image.names if n == complete(reference)), None)
        if image.id in self.checks.damaged:
            await self._runner.remove_image(image.id, force=True)
        else:
            await self._runner.remove_image(named or image.id, force=False)
        self.checks.forget(image.id)
        _log.info("image removed", extra={"image": image.id, "reference": reference})
        return image

    async def _pull(self, reference: str, secrets: Sequence[str], *, renewed: bool) -> Image:
        image = await self._pulls.pull(reference, tuple(secrets), renewed=renewed)
        await self._admit([image])
        await self.checks.before_use(image, reference)
        return image

    async def _load(self, archive: Path, warnings: list[str]) -> Sequence[Image]:
        try:
            images = await self._runner.load_image(archive)
        except DamagedImageError as error:
            if not error.image:
                raise
            warnings += await self._remove_damaged(error.image)
            images = await self._runner.load_image(archive)
        for image in images:
            self.checks.forget(image.id)
        return images

    async def _admit(self, images: Sequence[Image]) -> None:
        """Removes new images that must not run. Raises RefusedImageError for the first of them."""
        refused = [image for image in images if image.reserved]
        for image in refused:
            with contextlib.suppress(ContainerError, ImageInUseError):  # also refused at each use
                await self._runner.remove_image(image.id, force=False)
            self.checks.forget(image.id)
            _log.warning(
                "image refused", extra={"image": image.id, "reserved": list(image.reserved[:9])}
            )
        for image in refused:
            _refuse_reserved(image, _shown(image))

    async def _damage(self, images: Sequence[Image]) -> Damage | None:
        for image in images:
            damage = await self.checks.check(image.id, contents=True)
            if damage is not None:
                return damage
        return None

    async def _remove_damaged(self, *images: str) -> Sequence[str]:
        """Removes images that share a damaged layer, and returns warnings about them.

        While one of them is left, the layer is kept, and every load assumes that it is intact.
        """
        warnings = []
        known = {image.id: image for image in await self._runner.list_images()}
        for image in images:
            shown = ", ".join(known[image].names if image in known else ()) or image[:_SHORT]
            await self._runner.remove_image(image, force=True)
            self.checks.forget(image)
            _log.warning("damaged image removed", extra={"image": image, "names": shown})
            warnings.append(
                f"{shown} was damaged on this device and was removed; where it is not in this"
                " archive, load it again too"
            )
        return warnings


def _shown(image: Image) -> str:
    return next(iter(image.names), image.id[:_SHORT])


def _refuse_reserved(image: Image, reference: str) -> None:
    if image.reserved:
        raise RefusedImageError(refusal(reference, image.reserved))
