"""What `podman pull` says when it gives up, read as one of our errors."""

from __future__ import annotations

import pytest

from claraedge.errors import (
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    StorageFullError,
)
from claraedge.runner.images.pulls import refusal

NAME = "a.example/team/app:1"
START = f"Error: initializing source docker://{NAME}: "


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("reading manifest 1 in a.example/team/app: manifest unknown", ImageNotFoundError),
        ("reading manifest 1 in a.example/team/app: name unknown: gone", ImageNotFoundError),
        ("reading manifest 1 in a.example/team/app: StatusCode: 404, ...", ImageNotFoundError),
        ("reading manifest 1 in a.example/team/app: unauthorized", ImageDeniedError),
        (
            "reading manifest 1 in a.example/team/app: errors:\ndenied: requested access to the "
            "resource is denied\nunauthorized: authentication required\n",
            ImageDeniedError,
        ),
        (
            "unable to retrieve auth token: invalid username/password: unauthorized",
            ImageDeniedError,
        ),
        ("Requesting bear token: invalid status code from registry 403 (Forbidden)",
         ImageDeniedError),
        ("pinging container registry a.example: Get \"https://a.example/v2/\": dial tcp: lookup "
         "a.example: no such host", ImagePullError),
        ("reading blob sha256:ab: received unexpected HTTP status: 500", ImagePullError),
        ("writing blob: storing blob to file: write /x: no space left on device",
         StorageFullError),
    ],
)  # fmt: skip
def test_the_reason_decides(said: str, kind: type[Exception]) -> None:
    error = refusal(NAME, f"time=... level=warning msg=retrying\n{START}{said}", 125)
    assert type(error) is kind
    assert " ".join(said.split()) in str(error)
    assert "initializing source" not in str(error)
    assert "retrying" not in str(error)


@pytest.mark.parametrize("name", ["a.example/unauthorized:1", "a.example/denied:forbidden",
                                  "a.example:5000/forbidden@sha256:1"])  # fmt: skip
def test_an_image_that_is_named_like_an_error_is_none(name: str) -> None:
    repository = name.rpartition("@")[0] or name.rpartition(":")[0]
    said = f"Error: initializing source docker://{name}: reading in {repository}: timeout"
    assert type(refusal(name, said, 125)) is ImagePullError


def test_a_pull_that_says_nothing_shows_its_exit_code() -> None:
    assert "ended with -9 and said nothing" in str(refusal(NAME, "", -9))
    assert "what it said" in str(refusal(NAME, "what it said", 1))
