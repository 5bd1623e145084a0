"""A reference means an image only if it names it, not if a name happens to end alike."""

from __future__ import annotations

import pytest

from claraedge.runner.protocol import Image
from claraedge.runner.references import complete, full_names, is_id, means

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


@pytest.mark.parametrize(
    ("reference", "whole"),
    [
        ("app", "app:latest"),
        ("h:5/app", "h:5/app:latest"),
        ("h:5/app:1", "h:5/app:1"),
        ("app@sha256:1", "app@sha256:1"),
        ("app:1@sha256:1", "app@sha256:1"),
        ("h:5/app@sha256:1", "h:5/app@sha256:1"),
        ("h:5/app:1@sha256:1", "h:5/app@sha256:1"),
    ],
)
def test_a_whole_reference_has_a_tag_or_a_digest(reference: str, whole: str) -> None:
    assert complete(reference) == whole


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        ("clara/app", ("a.io/x/clara/app:latest", "b:5/clara/app:latest")),
        ("app:1@sha256:2", ("a.io/x/app@sha256:2", "b:5/app@sha256:2")),
        ("c.io/app:1", ("c.io/app:1",)),
        ("localhost/app:1", ("localhost/app:1",)),
        ("c:5/app", ("c:5/app:latest",)),
        (ID, ()),
        (f"sha256:{ID}", ()),
        ("", ()),
    ],
)
def test_only_a_name_without_a_host_is_searched_in_the_registries(
    reference: str, names: tuple[str, ...]
) -> None:
    assert full_names(reference, ("a.io/x", "b:5")) == names


def test_an_id_is_twelve_digits_or_more() -> None:
    assert (is_id(ID), is_id(ID[:12]), is_id(ID[:11]), is_id("app")) == (True, True, False, False)
