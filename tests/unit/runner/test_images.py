"""What Podman says about an image, read as a value."""

from __future__ import annotations

import pytest

from claraedge.runner import images


@pytest.mark.parametrize(
    ("said", "unix"),
    [({"Created": None}, 0.0), ({}, 0.0), ({"Created": "1970-01-01T00:01:00.5Z"}, 60.5)],
)
def test_an_image_need_not_say_when_it_was_built(said: dict[str, object], unix: float) -> None:
    assert images._image({"Id": "ab" * 32, **said}).created == unix
