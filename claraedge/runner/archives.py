"""Files of an image, read by Podman's archive call out of a container that is never started."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    ImageNotFoundError,
    InvalidImageError,
    RunnerUnavailableError,
)
from claraedge.runner.answers import check_storage
from claraedge.runner.http import Response
from claraedge.runner.protocol import MAX_FILE

#: Bytes of a tar that holds a file of MAX_FILE bytes and its headers.
MAX_ARCHIVE = MAX_FILE + 64 * 1024


def reading_request(image: str, labels: Mapping[str, str]) -> dict[str, object]:
    """The body of `POST /containers/create` for a container that only stands for its image."""
    return {
        "image": image,
        "labels": dict(labels),
        "entrypoint": ["/never-run"],  # an image may have none, and Podman wants one
        "netns": {"nsmode": "none"},
        "image_volume_mode": "ignore",
        "log_configuration": {"driver": "none"},
    }


def unreadable(response: Response, image: str) -> ClaraedgeError:
    """The error for an image that no container could be made of."""
    check_storage(response)
    if response.cause == "image not known":
        return ImageNotFoundError(f"image {image} is not on this device any more")
    return ContainerError(f"the files of image {image} cannot be read: {response.reason}")


def file_of(response: Response, image: str, path: str) -> bytes | None:
    """The one file of an archive call's answer; None where there is no file at that path.

    Podman has followed links already, and never out of the container.
    """
    if response.status == 404 and response.cause == "no such container":
        raise RunnerUnavailableError(
            f"the container that reads image {image} was removed meanwhile; try again"
        )
    if response.status == 404:
        return None
    if not response.ok:
        raise ContainerError(f"{path} of image {image} cannot be read: {response.reason}")
    with tarfile.open(fileobj=io.BytesIO(response.body)) as archive:
        entry = archive.next()
        if entry is None or not entry.isreg():
            return None
        if entry.size > MAX_FILE:
            raise InvalidImageError(
                f"{path} of image {image} has {entry.size} bytes; at most {MAX_FILE} are read"
            )
        file = archive.extractfile(entry)
        assert file is not None, "a regular file"
        return file.read()
