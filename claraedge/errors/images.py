"""Errors of images, and of pulls."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError
from claraedge.errors.containers import ContainerError


class ImageNotFoundError(ClaraedgeError):
    """The image is not on this device.

    To do: load the image (`claraedge create image -f FILE`), or let the daemon pull it
    (docs/images.md).
    """

    name = "image-not-found"
    code = -0x5100
    status = "NOT_FOUND"


class InvalidImageError(ClaraedgeError):
    """The archive contains no image.

    To do: make the archive with `podman save` or `docker save`.
    """

    name = "invalid-image"
    code = -0x5101
    status = "INVALID_ARGUMENT"


class ImageInUseError(ClaraedgeError):
    """The image was not removed, because containers use it.

    To do: wait until the jobs that use it have ended, or cancel them.
    """

    name = "image-in-use"
    code = -0x5108
    status = "FAILED_PRECONDITION"


class DamagedImageError(ContainerError):
    """The image on this device is damaged, for example after a power cut; the message says what.

    To do: load the image again: `claraedge create image -f FILE` replaces what is damaged.
    """

    name = "image-damaged"
    code = -0x5107

    def __init__(self, *messages: str, image: str = "", what: str = "") -> None:
        super().__init__(*messages)
        self.image = image
        """Its id; empty if the id is not known."""
        self.what = what
        """What is damaged, without what to do."""


class RefusedImageError(ContainerError):
    """The image has annotations or labels that are reserved for the program that runs containers.

    To do: build the image again without those that the message names, and load the new image.
    """

    name = "image-refused"
    code = -0x510A
    status = "INVALID_ARGUMENT"


class ImagePullError(ClaraedgeError):
    """A registry did not deliver the image; the message contains its reason.

    To do: check the network and the registry, or load the image (`claraedge create image -f FILE`).
    """

    name = "image-pull"
    code = -0x5110
    status = "UNAVAILABLE"


class ImageDeniedError(ImagePullError):
    """The registry requires credentials for the image, or refuses those that it received.

    To do: name a pull secret in the pipeline and configure its credentials (docs/images.md).
    """

    name = "image-denied"
    code = -0x5111
    status = "PERMISSION_DENIED"


class RegistryNotAllowedError(ImagePullError):
    """The configuration does not allow pulls from this registry, so it received no request.

    To do: add the registry to `[images] allow`, or load the image (docs/images.md).
    """

    name = "registry-not-allowed"
    code = -0x5112
    status = "PERMISSION_DENIED"
