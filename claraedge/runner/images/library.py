"""Calls of Podman through podman-py, for work that no operator's start waits for. They block.

What a start waits for uses the raw client on the event loop (`http`), and so does what podman-py
would read into memory as a whole, such as an archive to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.runner.images import images

if TYPE_CHECKING:
    from podman import PodmanClient

_API_VERSION = "4.3.1"
#: Timeouts in seconds: of a query, and of a removal, which deletes layers.
_ASK, _REMOVE = 25.0, 300.0


def image_ids(socket: Path) -> Sequence[str] | None:
    """Returns the ids of all images except intermediate ones; None where Podman cannot read one of
    them.

    Raises RunnerUnavailableError.
    """
    from podman.errors import APIError

    with _client(socket, _ASK) as client:
        try:
            return [str(image.id).removeprefix("sha256:") for image in client.images.list()]
        except APIError as error:
            if error.is_server_error():
                return None
            raise


def users_of_image(socket: Path, image: str) -> Sequence[str]:
    """Returns the names of the containers created from an image. Raises RunnerUnavailableError."""
    with _client(socket, _ASK) as client:
        found = client.containers.list(all=True, filters={"ancestor": image}, sparse=True)
        return [str(container.name) for container in found]


def remove_image(socket: Path, image: str) -> None:
    """Removes an image with all its names, and the containers created from it.

    An image that does not exist is no error. Raises ContainerError, RunnerUnavailableError.
    """
    from podman.errors import APIError, ImageNotFound

    with _client(socket, _REMOVE) as client:
        try:
            client.images.remove(image.removeprefix("sha256:"), force=True)
        except ImageNotFound:
            return
        except APIError as error:
            raise ContainerError(
                f"Podman does not remove the image {image}: {error.explanation}; try"
                f" `podman rmi --force {image.removeprefix('sha256:')[:12]}` as the user that runs"
                " claraedge"
            ) from error


@contextmanager
def _client(socket: Path, timeout: float) -> Iterator[PodmanClient]:
    from podman import PodmanClient  # needs 90 ms: not at every start of a command line
    from podman.errors import APIError

    base = f"http+unix://{quote(str(socket), safe='')}"
    try:
        with PodmanClient(base_url=base, version=_API_VERSION, timeout=timeout) as client:
            yield client
    except (APIError, OSError) as error:
        raise RunnerUnavailableError(images.unanswered(str(error))) from error
