"""Which image a reference means. Pure.

Podman looks further than this: it answers `app:1` with any image whose name *ends* in `/app:1`,
whoever made it. A pipeline's `app:1` must not become `somebody/app:1` because the right one is
missing, so what Podman finds is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from claraedge.runner.protocol import Image

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")


def means(reference: str, image: Image) -> bool:
    """Whether the image is one that the reference names: by id (12 digits or more) or by name.

    A name without a registry's host stands for that name on any host; without a tag it means
    `latest`. One with a digest means the image whose manifest, or whose configuration, has that
    digest, whatever its name here: an archive may have none, or another.
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
    """Whether it may be an image's id: no registry is asked for one."""
    return _ID.fullmatch(reference) is not None


def complete(reference: str) -> str:
    """The reference as one name: with `latest` where it has no tag, without a tag where a digest
    pins the image (Podman takes no name that has both).
    """
    name, at, digest = reference.partition("@")
    repository, tag = untagged(name)
    return f"{repository}@{digest}" if at else f"{repository}{tag or ':latest'}"


def untagged(name: str) -> tuple[str, str]:
    """The repository and the tag of a name without a digest: (`app`, `:1`), or (`app`, empty)."""
    repository, colon, tag = name.rpartition(":")
    return (repository, colon + tag) if colon and "/" not in tag else (name, "")


def full_names(reference: str, registries: Sequence[str]) -> tuple[str, ...]:
    """The names that a registry may be asked for, in order: none for an id.

    A name with a host means itself alone; another one stands below each prefix of `registries`.
    """
    if not reference or is_id(reference):
        return ()
    whole = complete(reference)
    if host(whole) is not None:
        return (whole,)
    return tuple(f"{prefix}/{whole}" for prefix in registries)


def names(image: Image) -> tuple[str, ...]:
    """All that an image is called, digests included."""
    return (*image.names, *image.digests)


def host(name: str) -> str | None:
    """The registry's host: a first part with a dot or a port, or `localhost`."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else None


def _same_host(reference: str, name: str) -> bool:
    wanted = host(reference)
    return wanted is None or wanted == host(name)


def path(name: str) -> str:
    """The name without its host."""
    registry = host(name)
    return name if registry is None else name[len(registry) + 1 :]


def _paths(name: str) -> tuple[str, ...]:
    """The name without its host; Docker Hub's own images also without their `library/`."""
    bare = path(name)
    if host(name) == "docker.io":
        return (bare, bare.removeprefix("library/"))
    return (bare,)
