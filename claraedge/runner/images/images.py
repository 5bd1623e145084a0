"""Converts Podman's answers about images into Image values. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import DamagedImageError, RunnerUnavailableError
from claraedge.runner.protocol import Image
from claraedge.runner.references import means
from claraedge.runner.reserved import reserved
from claraedge.runner.service.http import Response

#: Refusals that are not about the image: the machine is temporarily short of a resource.
_PASSING = re.compile(
    r"no space left|too many open files|cannot allocate memory|temporarily unavailable|timed? ?out"
    r"|is locked|context canceled|deadlock|resource busy",
    re.I,
)
_LARGEST_PORT = 65535
#: Unix seconds; the calendar of JSON ends there.
_YEAR_10000 = 253402300800
_LARGEST_SIZE = 2**63 - 1
_LONGEST_REASON = 500


class PassingError(RunnerUnavailableError):
    """Podman answers, but temporarily lacks a resource to read an image."""


def inspect_path(reference: str) -> str:
    """Returns the path in Podman's API of the image that a reference means."""
    return f"/images/{quote(reference.removeprefix('sha256:'), safe='')}/json"


def read_image(response: Response, reference: str) -> Image | None:
    """Converts the answer; None where the image is not present, or the reference is invalid.

    What an image declares comes from its builder: values that make no sense become empty. Raises
    PassingError, and DamagedImageError where Podman cannot read the image, or its answer cannot be
    parsed.
    """
    if not response.ok and (
        400 <= response.status < 500 or "invalid reference format" in response.reason
    ):
        return None
    if not response.ok and _PASSING.search(response.own_words):
        raise PassingError(unanswered(response.reason))
    if not response.ok:
        what = f"Podman cannot read it: {response.reason}"
        raise DamagedImageError(damaged(reference, what), what=what)
    image = _image(attributes(response, reference), reference)
    return image if means(reference, image) else None


def read_volumes(response: Response, image: str) -> Sequence[str]:
    """Returns the paths of the image's VOLUMEs, sorted. Raises DamagedImageError."""
    volumes = _config(attributes(response, image)).get("Volumes")
    return sorted(map(str, volumes)) if isinstance(volumes, Mapping) else []


def attributes(response: Response, reference: str) -> Mapping[str, object]:
    """Parses the answer about one image. Raises DamagedImageError where it cannot be parsed."""
    try:
        return decode_json(response.body, dict[str, object])
    except msgspec.MsgspecError as error:
        raise _unreadable(reference, str(error)) from error


def _unreadable(reference: str, why: str) -> DamagedImageError:
    what = f"what Podman says of it cannot be read: {why[:_LONGEST_REASON]}"
    return DamagedImageError(damaged(reference, what), what=what)


def damaged(reference: str, what: str) -> str:
    """Returns the message for an image that differs from what was stored."""
    return (
        f"the image {reference} is damaged on this device, as after a power cut: {what}; load it"
        " again with `claraedge create image -f ARCHIVE`, which replaces what is damaged"
    )


def unanswered(why: str) -> str:
    """Returns the message where Podman does not answer about images."""
    return (
        f"Podman did not answer about images ({why}); if it stays so, check what `podman images`"
        " says for this user"
    )


def _image(fields: Mapping[str, object], reference: str) -> Image:
    config = _config(fields)
    image = _text(fields.get("Id")).removeprefix("sha256:")
    if not image:
        raise _unreadable(reference, "its id is missing")
    return Image(
        id=image,
        names=_texts(fields.get("RepoTags")),
        digests=_texts(fields.get("RepoDigests")),
        size=_size(fields.get("Size")),
        created=_created(fields.get("Created")),
        user=_text(fields.get("User")) or _text(config.get("User")),
        entrypoint=_texts(config.get("Entrypoint")),
        command=_texts(config.get("Cmd")),
        ports=_ports(config.get("ExposedPorts")),
        manifest=_text(fields.get("Digest")),
        platform="/".join(
            filter(None, (_text(fields.get("Os")), _text(fields.get("Architecture"))))
        ),
        reserved=reserved(
            _names(fields.get("Annotations")),
            {*_names(fields.get("Labels")), *_names(config.get("Labels"))},
        ),
    )


def _config(fields: Mapping[str, object]) -> Mapping[str, object]:
    config = fields.get("Config")
    return config if isinstance(config, dict) else {}


def _created(value: object) -> float:
    """Returns Unix seconds; 0 for an image without a time, or with one outside of the calendar."""
    try:
        time = datetime.fromisoformat(_text(value)).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
    return time if 0 <= time < _YEAR_10000 else 0.0


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= _LARGEST_SIZE else 0


def _ports(value: object) -> tuple[int, ...]:
    """Returns the TCP ports out of entries such as `8000/tcp`; an entry without a protocol is TCP,
    too.
    """
    names = [name.removesuffix("/tcp") for name in _names(value)]
    short = [name for name in names if name.isascii() and name.isdigit() and len(name) < 6]
    return tuple(sorted(port for port in map(int, short) if 0 < port <= _LARGEST_PORT))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else []
    return tuple(item for item in items if isinstance(item, str))


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, dict) else []
