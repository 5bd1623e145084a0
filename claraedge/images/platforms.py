"""Compares the platform that an image is built for with that of this machine."""

from __future__ import annotations

import platform

#: The kernel's name of a processor -> the name in images (Go's GOARCH).
_PROCESSORS = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
}


def machine() -> str:
    """Returns the platform of this machine in the form that images use, such as `linux/arm64`."""
    processor = platform.machine()
    return f"linux/{_PROCESSORS.get(processor, processor)}"


def foreign(image: str, here: str) -> str:
    """Returns why an image built for `image` cannot run `here`; empty where it can, or
    may. Pure.
    """
    if not image or "/" not in image or image == here:
        return ""
    return (
        f"the image says that it is built for {image}, and this machine is {here}; save the one for"
        f" this machine: `docker pull --platform {here} IMAGE`, then `docker save`"
    )
