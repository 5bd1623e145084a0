"""`[images]`: where operators' images come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from claraedge.config.sections import Seconds, Section, Text

_HOST = r"(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:)|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
_PREFIX = rf"{_HOST}(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"


class Credential(Section, frozen=True, kw_only=True):
    """`[images.credentials.NAME]`: what the pull secret NAME of a pipeline stands for."""

    registry: Text
    """The registry's host, with its port where it has one."""
    username: Text
    password_file: Path
    """Read at each pull; no other user may read it."""


class Images(Section, frozen=True, kw_only=True):
    """`[images]`."""

    registries: tuple[Text, ...] = ()
    """Where an image's name without a host is looked for, in order: `HOST[:PORT][/PATH]`."""
    pull: Literal["never", "missing"] = "never"
    """missing: an image that is not on this device is pulled from its registry."""
    allow: tuple[Text, ...] = ()
    """Where pulls may go besides `registries`: prefixes as those, `*.DOMAIN` for hosts, `*` for
    every public one. Default: `*`."""
    pull_seconds: Seconds | None = None
    """The longest that one pull takes. Default: 1800."""
    insecure_registries: tuple[Text, ...] = ()
    """Hosts that are asked over plain HTTP, or without a look at their certificate."""
    path: Path | None = None
    """Archives that are put into this folder are loaded. Default: `<state>/images.d`."""
    credentials: dict[str, Credential] = msgspec.field(default_factory=dict)


def mistakes_of(images: Images) -> list[str]:
    """Registries that no image can come from, and settings for pulls where nothing is pulled."""
    mistakes = [
        f"images.registries: {prefix!r} is no registry; write HOST, HOST:PORT or HOST/PATH in"
        " lower case, as nvcr.io/nvidia"
        for prefix in images.registries
        if not re.fullmatch(_PREFIX, prefix)
    ]
    mistakes += [
        f"images.allow: {entry!r} lists no registry; write HOST, HOST:PORT, HOST/PATH or *.DOMAIN"
        " in lower case, or * for every public one"
        for entry in images.allow
        if entry != "*" and not re.fullmatch(_PREFIX, entry.removeprefix("*."))
    ]
    if len(set(images.registries)) != len(images.registries):
        mistakes.append("images.registries: names a registry twice; once is enough")
    hosts = {"images.insecure_registries": images.insecure_registries}
    for name, credential in images.credentials.items():
        place = f"images.credentials.{name}"
        hosts[f"{place}.registry"] = (credential.registry,)
        if not credential.password_file.is_absolute():
            mistakes.append(
                f"{place}.password_file: {credential.password_file} must be an absolute path"
            )
        if ":" in credential.username:
            mistakes.append(
                f"{place}.username: holds a colon, which registries do not allow; remove it"
            )
    mistakes += [
        f"{place}: {host!r} is no registry's host; write HOST or HOST:PORT in lower case"
        for place, named in hosts.items()
        for host in named
        if not re.fullmatch(_HOST, host)
    ]
    folded = [name.casefold() for name in images.credentials]
    if len(set(folded)) != len(folded):
        mistakes.append(
            "images.credentials: two names differ only in upper and lower case; rename one"
        )
    for name in ("allow", "pull_seconds", "insecure_registries", "credentials"):
        if images.pull == "never" and getattr(images, name):
            mistakes.append(
                f"images.{name}: has no effect, because nothing is pulled; set"
                ' images.pull = "missing", or take it out'
            )
    return mistakes
