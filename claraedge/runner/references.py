"""Which image a reference means. Pure.

Podman looks further than this: it answers `app:1` with any image whose name *ends* in `/app:1`,
whoever made it. A pipeline's `app:1` must not become `somebody/app:1` because the right one is
missing, so what Podman finds is checked here.
"""

from __future__ import annotations

import re

from claraedge.runner.protocol import Image

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")


def means(reference: str, image: Image) -> bool:
    """Whether the image is one that the reference names: by id (12 digits or more) or by name.

    A name without a registry's host stands for that name on any host; without a tag it means
    `latest`.
    """
    identity = _ID.fullmatch(reference)
    if identity is not None and image.id.startswith(identity[1]):
        return True
    whole = reference if _complete(reference) else f"{reference}:latest"
    return any(_same_host(whole, name) and _path(whole) in _paths(name) for name in _names(image))


def _names(image: Image) -> tuple[str, ...]:
    return (*image.names, *image.digests)


def _complete(reference: str) -> bool:
    return "@" in reference or ":" in reference.rsplit("/", 1)[-1]


def _host(name: str) -> str | None:
    """The registry's host: a first part with a dot or a port, or `localhost`."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else None


def _same_host(reference: str, name: str) -> bool:
    wanted = _host(reference)
    return wanted is None or wanted == _host(name)


def _path(name: str) -> str:
    host = _host(name)
    return name if host is None else name[len(host) + 1 :]


def _paths(name: str) -> tuple[str, ...]:
    """The name without its host; Docker Hub's own images also without their `library/`."""
    path = _path(name)
    if _host(name) == "docker.io":
        return (path, path.removeprefix("library/"))
    return (path,)
