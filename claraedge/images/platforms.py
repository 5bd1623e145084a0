"""What an image is built for, against what this machine is."""

from __future__ import annotations

import platform

#: The kernel's word for a processor -> that of images (Go's GOARCH).
_PROCESSORS = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
}


def machine() -> str:
    """What this machine is, as an image names it: `linux/arm64`."""
    processor = platform.machine()
    return f"linux/{_PROCESSORS.get(processor, processor)}"


def foreign(image: str, here: str) -> str:
    """Why an image that is built for `image` does not run `here`; empty: it does, or may. Pure."""
    if not image or "/" not in image or image == here:
        return ""
    return (
        f"the image says that it is built for {image}, and this machine is {here}; save the one for"
        f" this machine: `docker pull --platform {here} IMAGE`, then `docker save`"
    )
