"""Explains a name that matches no image on this device, and suggests similar ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from claraedge.runner.protocol import Image
from claraedge.runner.references import is_id, names, path, untagged

_SHOWN = 3


def missing(reference: str, images: Sequence[Image]) -> str:
    """Returns the message for a missing image: what is wrong with its name, where that is known,
    and what to write instead.
    """
    said = f"the image {reference} is not on this device"
    load = (
        "load it with `claraedge create image -f ARCHIVE.tar`, or let it be pulled"
        ' ([images] pull = "missing")'
    )
    name, at, digest = reference.partition("@")
    alike = _alike(name, images)
    if name != name.lower() and not is_id(reference):
        repository, tag = untagged(name)
        right = f"{repository.lower()}{tag}{at}{digest}"
        return f"{said}: names of images are in lower case; write `{right}`"
    if at and alike:
        ids = " or ".join(
            f"`sha256:{image.id}` ({_first(image, name)})" for image in alike[:_SHOWN]
        )
        return (
            f"{said}, but one of the same name with another digest is. An image that comes by file"
            " has lost the digest of its registry (`docker save` and `podman save` pack it again)."
            f" To run the one that is here, write its id: {ids}; or load the one that is meant"
        )
    if alike:
        others = ", ".join(f"`{_first(image, name)}`" for image in alike[:_SHOWN])
        return f"{said}, but {others} is: write that if you mean it; or {load} (docs/images.md)"
    return f"{said}; {load} (docs/images.md)"


def _alike(name: str, images: Sequence[Image]) -> list[Image]:
    """Returns images of the same repository, with any host and tag, the newest first."""
    wanted = _repository(name)
    found = [image for image in images if any(_repository(n) == wanted for n in names(image))]
    return sorted(found, key=lambda image: image.created, reverse=True)


def _first(image: Image, name: str) -> str:
    """Returns the name by which a similar image matches."""
    return next(n for n in names(image) if _repository(n) == _repository(name))


def _repository(name: str) -> str:
    """Returns the repository in lower case, without host, tag and digest."""
    repository, _ = untagged(name.partition("@")[0])
    return path(repository.lower()).removeprefix("library/")
