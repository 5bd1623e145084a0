"""`[deployments]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from claraedge.config.sections import Seconds, Section

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class DeploymentsSettings(Section, frozen=True, kw_only=True):
    """`[deployments]`: packages that are kept running on this device."""

    up_seconds: Seconds = 3.0
    """Time that an executable has to run after its start so that it counts as started."""
    network: Literal["outside", "private"] = "outside"
    """What the containers of a deployment reach apart from each other: `outside`: whatever this
    machine reaches; `private`: nothing. Containers of other deployments only where one depends on
    the other. A deployment or network keeps the value with which it was created; `claraedge status`
    names those for which it is another one."""
    volumes: Path | None = None
    """Folder that `sub_path` of a mount is relative to. Default: `<state>/volumes`."""
    host_folders: tuple[Path, ...] = ()
    """Other folders of this machine that deployments may mount, with all that is in them."""
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    """Environment variables of all deployments on this device."""
    ros_images: dict[str, str] = msgspec.field(default_factory=dict)
    """ROS distribution -> name of the image whose `rosmaster` serves private networks of that
    distribution."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Labels of this device, which clients see."""


def mistakes_of(settings: DeploymentsSettings) -> list[str]:
    """Returns what is wrong with the section beyond types."""
    mistakes = [
        f"deployments.variables.{name}: it is no name of an environment variable; use letters,"
        " digits and `_`"
        for name in settings.variables
        if not _VARIABLE.fullmatch(name)
    ]
    mistakes += [
        f"deployments.ros_images.{distro}: give a distribution such as noetic, and the name of an"
        " image that has its rosmaster"
        for distro, image in settings.ros_images.items()
        if not distro.isalpha() or not image.strip()
    ]
    for number, folder in enumerate(settings.host_folders):
        if not folder.is_absolute() or folder == Path("/") or ".." in folder.parts:
            mistakes.append(
                f"deployments.host_folders[{number}]: {folder} must be an absolute path, without"
                " `..`, and not `/`; list the folders that deployments may mount"
            )
    return mistakes
