"""Which images a name may have meant that means none here. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from claraedge.runner.protocol import Image
from claraedge.runner.references import host, is_id

_SHOWN = 3


def missing(reference: str, images: Sequence[Image]) -> str:
    """The message for an image that is not here: what is wrong with its name, where that is
    known, and what to write instead.
    """
    said = f"the image {reference} is not on this device"
    load = (
        "load it with `claraedge create image -f ARCHIVE.tar`, or let it be pulled"
        ' ([images] pull = "missing")'
    )
    name, at, digest = reference.partition("@")
    alike = _alike(name, images)
    if name != name.lower() and not is_id(reference):
        lower = ":".join((_repository(name).lower(), *_tag(name)))
        return f"{said}: names of images are in lower case; write `{lower}{at}{digest}`"
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
        names = ", ".join(f"`{_first(image, name)}`" for image in alike[:_SHOWN])
        return f"{said}, but {names} is: write that if you mean it; or {load} (docs/images.md)"
    return f"{said}; {load} (docs/images.md)"


def _alike(name: str, images: Sequence[Image]) -> list[Image]:
    """Images of the same repository, whatever their host and tag, the newest first."""
    wanted = _path(name)
    found = [image for image in images if any(_path(n) == wanted for n in _all(image))]
    return sorted(found, key=lambda image: image.created, reverse=True)


def _all(image: Image) -> tuple[str, ...]:
    return (*image.names, *image.digests)


def _first(image: Image, name: str) -> str:
    """The name of an image that is alike."""
    return next(n for n in _all(image) if _path(n) == _path(name))


def _repository(name: str) -> str:
    bare = name.partition("@")[0]
    return bare.rpartition(":")[0] if _tag(bare) else bare


def _tag(name: str) -> tuple[str, ...]:
    last = name.rsplit("/", 1)[-1]
    return (last.partition(":")[2],) if ":" in last else ()


def _path(name: str) -> str:
    """The repository in lower case, without its host."""
    repository = _repository(name).lower()
    registry = host(repository)
    path = repository if registry is None else repository[len(registry) + 1 :]
    return path.removeprefix("library/")
