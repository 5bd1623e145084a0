"""Images of this device as Podman tells of them. `find_all` blocks: call it in a thread.

A list comes by podman-py, what the start of an operator waits for does not: that goes over the raw
client on the loop. Nor does loading: podman-py reads the whole archive into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import msgspec

from claraedge.errors import RunnerUnavailableError
from claraedge.runner.http import Response
from claraedge.runner.protocol import Image
from claraedge.runner.references import means

if TYPE_CHECKING:
    from podman import PodmanClient

_API_VERSION = "4.3.1"
_TIMEOUT = 30.0


def inspect_path(reference: str) -> str:
    """Where Podman's API tells of the image that a reference means."""
    return f"/images/{quote(reference.removeprefix('sha256:'), safe='')}/json"


def read_image(response: Response, reference: str) -> Image | None:
    """The answer; None where the image is not here, or where that is no reference.

    Raises RunnerUnavailableError.
    """
    if 400 <= response.status < 500:
        return None
    try:
        if not response.ok:
            raise RunnerUnavailableError(_unanswered(response.reason))
        image = _image(msgspec.json.decode(response.body, type=dict[str, object]))
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise RunnerUnavailableError(_unanswered(repr(error))) from error
    return image if means(reference, image) else None


def find_all(socket: Path) -> Sequence[Image]:
    """All images but intermediate ones. Raises RunnerUnavailableError."""
    with _client(socket) as client:
        found = [_find(client, str(image.id)) for image in client.images.list()]
    return [image for image in found if image is not None]


def _find(client: PodmanClient, reference: str) -> Image | None:
    from podman.errors import APIError, ImageNotFound

    if not reference.strip():
        return None
    try:
        return _image(client.images.get(reference.removeprefix("sha256:")).attrs)
    except ImageNotFound:
        return None
    except APIError as error:
        if error.is_client_error():
            return None
        raise


@contextmanager
def _client(socket: Path) -> Iterator[PodmanClient]:
    from podman import PodmanClient  # 90 ms: not at every start of a command line
    from podman.errors import APIError

    base = f"http+unix://{quote(str(socket), safe='')}"
    try:
        with PodmanClient(base_url=base, version=_API_VERSION, timeout=_TIMEOUT) as client:
            yield client
    except (APIError, OSError) as error:
        raise RunnerUnavailableError(_unanswered(str(error))) from error


def _unanswered(why: str) -> str:
    return (
        f"Podman did not answer about images ({why}); if it stays so, look at what `podman images`"
        " says for this user"
    )


def _image(attributes: Mapping[str, object]) -> Image:
    config = cast("Mapping[str, object]", attributes.get("Config") or {})
    return Image(
        id=str(attributes["Id"]).removeprefix("sha256:"),
        names=_texts(attributes.get("RepoTags")),
        digests=_texts(attributes.get("RepoDigests")),
        size=int(cast("int", attributes.get("Size") or 0)),
        created=_created(attributes.get("Created")),
        user=str(attributes.get("User") or config.get("User") or ""),
        entrypoint=_texts(config.get("Entrypoint")),
        command=_texts(config.get("Cmd")),
        ports=_ports(config.get("ExposedPorts")),
    )


def _created(value: object) -> float:
    """Unix time; 0 for an image that does not say (the field is optional in its configuration)."""
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else 0.0


def _ports(value: object) -> tuple[int, ...]:
    """Of `8000/tcp` and the like: those of TCP, which is what no protocol stands for as well."""
    names = [str(key) for key in value] if isinstance(value, Mapping) else []
    numbers = [name.removesuffix("/tcp") for name in names]
    return tuple(sorted(int(number) for number in numbers if number.isascii() and number.isdigit()))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
