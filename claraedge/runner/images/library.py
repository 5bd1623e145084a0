"""Calls of Podman that no start of an operator waits for, by podman-py. They block: use a thread.

What a start waits for goes over the raw client on the loop (`http`), and so does what podman-py
reads into memory as a whole: an archive that is loaded.
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
#: Seconds: of a question, and of a removal, which deletes layers.
_ASK, _REMOVE = 25.0, 300.0


def image_ids(socket: Path) -> Sequence[str] | None:
    """Ids of all images but intermediate ones; None where Podman cannot read one of them.

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
    """Names of the containers that are made of an image. Raises RunnerUnavailableError."""
    with _client(socket, _ASK) as client:
        found = client.containers.list(all=True, filters={"ancestor": image}, sparse=True)
        return [str(container.name) for container in found]


def remove_image(socket: Path, image: str) -> None:
    """Removes an image with all its names, and the containers that are made of it.

    One that is not there is no error. Raises ContainerError, RunnerUnavailableError.
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
    from podman import PodmanClient  # 90 ms: not at every start of a command line
    from podman.errors import APIError

    base = f"http+unix://{quote(str(socket), safe='')}"
    try:
        with PodmanClient(base_url=base, version=_API_VERSION, timeout=timeout) as client:
            yield client
    except (APIError, OSError) as error:
        raise RunnerUnavailableError(images.unanswered(str(error))) from error
