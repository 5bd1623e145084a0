"""Images of this device as Podman tells of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import cast
from urllib.parse import quote

import msgspec

from claraedge.errors import DamagedImageError, RunnerUnavailableError
from claraedge.runner.http import Response
from claraedge.runner.protocol import Image
from claraedge.runner.references import means

#: Refusals that say nothing about the image: the machine is short of something, for a while.
_PASSING = re.compile(
    r"no space left|too many open files|cannot allocate memory|temporarily unavailable|timed? ?out"
    r"|is locked|context canceled|deadlock",
    re.I,
)
_LARGEST_PORT = 65535


def inspect_path(reference: str) -> str:
    """Where Podman's API tells of the image that a reference means."""
    return f"/images/{quote(reference.removeprefix('sha256:'), safe='')}/json"


def read_image(response: Response, reference: str) -> Image | None:
    """The answer; None where the image is not here, or where that is no reference.

    Raises RunnerUnavailableError, and DamagedImageError where Podman cannot read what it has.
    """
    if 400 <= response.status < 500 or "invalid reference format" in response.reason:
        return None
    if not response.ok and _PASSING.search(response.reason):
        raise RunnerUnavailableError(unanswered(response.reason))
    if not response.ok:
        what = f"Podman cannot read it: {response.reason}"
        raise DamagedImageError(damaged(reference, what), what=what)
    try:
        image = _image(msgspec.json.decode(response.body, type=dict[str, object]))
    except (msgspec.MsgspecError, KeyError) as error:
        raise RunnerUnavailableError(unanswered(repr(error))) from error
    return image if means(reference, image) else None


def damaged(reference: str, what: str) -> str:
    """The message for an image that is not what was stored."""
    return (
        f"the image {reference} is damaged on this device, as after a power cut: {what}; load it"
        " again with `claraedge create image -f ARCHIVE`, which replaces what is damaged"
    )


def unanswered(why: str) -> str:
    """The message where Podman says nothing about images."""
    return (
        f"Podman did not answer about images ({why}); if it stays so, look at what `podman images`"
        " says for this user"
    )


def _image(attributes: Mapping[str, object]) -> Image:
    """What an image says of itself is its builder's: what makes no sense there is left out."""
    config = cast("Mapping[str, object]", attributes.get("Config") or {})
    size = attributes.get("Size")
    return Image(
        id=str(attributes["Id"]).removeprefix("sha256:"),
        names=_texts(attributes.get("RepoTags")),
        digests=_texts(attributes.get("RepoDigests")),
        size=size if isinstance(size, int) else 0,
        created=_created(attributes.get("Created")),
        user=str(attributes.get("User") or config.get("User") or ""),
        entrypoint=_texts(config.get("Entrypoint")),
        command=_texts(config.get("Cmd")),
        ports=_ports(config.get("ExposedPorts")),
        manifest=str(attributes.get("Digest") or ""),
        platform="/".join(
            str(attributes[part]) for part in ("Os", "Architecture") if attributes.get(part)
        ),
    )


def _created(value: object) -> float:
    """Unix time; 0 for an image that does not say, or says a year that no calendar has."""
    try:
        return max(0.0, datetime.fromisoformat(str(value)).timestamp())
    except (ValueError, OverflowError):
        return 0.0


def _ports(value: object) -> tuple[int, ...]:
    """Of `8000/tcp` and the like: those of TCP, which is what no protocol stands for as well."""
    names = [str(key).removesuffix("/tcp") for key in value] if isinstance(value, Mapping) else []
    short = [name for name in names if name.isascii() and name.isdigit() and len(name) < 6]
    return tuple(sorted(port for port in map(int, short) if 0 < port <= _LARGEST_PORT))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
