"""Decides which image a reference means. Pure.

Podman's search is wider than this: it answers `app:1` with any image whose name *ends* in `/app:1`,
whoever published it. A pipeline's `app:1` must not become `somebody/app:1` because the right one is
missing, so what Podman finds is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from claraedge.runner.protocol import Image

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")


def means(reference: str, image: Image) -> bool:
    """Whether the reference names this image, by id (12 digits or more) or by name.

    A name without a registry's host matches that name on any host; without a tag it means `latest`.
    A reference with a digest means the image whose manifest or configuration has that digest,
    whatever its name on this device is: after loading an archive it may have none, or another.
    """
    identity = _ID.fullmatch(reference)
    if identity is not None and image.id.startswith(identity[1]):
        return True
    digest = reference.partition("@")[2]
    if digest and digest in (image.manifest, f"sha256:{image.id}"):
        return True
    whole = complete(reference)
    return any(_same_host(whole, name) and path(whole) in _paths(name) for name in names(image))


def is_id(reference: str) -> bool:
    """Whether it may be an image's id, which no registry is asked for."""
    return _ID.fullmatch(reference) is not None


def complete(reference: str) -> str:
    """Returns the reference as one full name: with `latest` where it has no tag, and without a tag
    where a digest pins the image (Podman accepts no name that has both).
    """
    name, at, digest = reference.partition("@")
    repository, tag = untagged(name)
    return f"{repository}@{digest}" if at else f"{repository}{tag or ':latest'}"


def untagged(name: str) -> tuple[str, str]:
    """Splits a name without a digest into repository and tag: (`app`, `:1`), or (`app`, empty)."""
    repository, colon, tag = name.rpartition(":")
    return (repository, colon + tag) if colon and "/" not in tag else (name, "")


def full_names(reference: str, registries: Sequence[str]) -> tuple[str, ...]:
    """Returns the names to ask registries for, in order; none for an id.

    A name with a host means only itself; one without is put below each prefix of `registries`.
    """
    if not reference or is_id(reference):
        return ()
    whole = complete(reference)
    if host(whole) is not None:
        return (whole,)
    return tuple(f"{prefix}/{whole}" for prefix in registries)


def names(image: Image) -> tuple[str, ...]:
    """Returns all names of an image, digests included."""
    return (*image.names, *image.digests)


def host(name: str) -> str | None:
    """Returns the registry's host: a first part with a dot or a port, or `localhost`; else None."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else None


def _same_host(reference: str, name: str) -> bool:
    wanted = host(reference)
    return wanted is None or wanted == host(name)


def path(name: str) -> str:
    """Returns the name without its host."""
    registry = host(name)
    return name if registry is None else name[len(registry) + 1 :]


def _paths(name: str) -> tuple[str, ...]:
    """Returns the name without its host; for images of Docker Hub also without their `library/`."""
    bare = path(name)
    if host(name) == "docker.io":
        return (bare, bare.removeprefix("library/"))
    return (bare,)
