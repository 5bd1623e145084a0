"""A reference means an image only if it names it, not if a name happens to end alike."""

from __future__ import annotations

import pytest

from claraedge.runner.protocol import Image
from claraedge.runner.references import means

ID = "75a68c9e96247a8fba0fc58fa6ba84f404c0e43ab28785dfd2f67b96b77c26f5"


def image(name: str) -> Image:
    return Image(
        id=ID, names=(name,), digests=(name.split(":")[0] + "@sha256:" + "1" * 64,), size=1,
        created=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("localhost/app:1", "localhost/app:1"),
        ("app:1", "localhost/app:1"),
        ("app", "localhost/app:latest"),
        ("team/app:1", "registry.example:5000/team/app:1"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1"),
        ("app@sha256:" + "1" * 64, "localhost/app:1"),
        (ID, "x:1"),
        (f"sha256:{ID}", "x:1"),
        (ID[:12], "x:1"),
    ],
)
def test_it_means_the_image(reference: str, name: str) -> None:
    assert means(reference, image(name))


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("app:1", "localhost/somebody/app:1"),
        ("app:1", "somebody/app:1"),
        ("app:1", "localhost/app:2"),
        ("app", "localhost/app:1"),
        ("localhost/app:1", "docker.io/app:1"),
        ("library/app:1", "other.example/app:1"),
        ("app@sha256:" + "2" * 64, "localhost/app:1"),
        (ID[:8], "x:1"),
        ("", "x:1"),
    ],
)
def test_it_does_not_mean_the_image(reference: str, name: str) -> None:
    assert not means(reference, image(name))
