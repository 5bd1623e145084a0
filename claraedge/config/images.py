"""`[images]`: where operators' images come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from claraedge.config.sections import Seconds, Section, Text

_HOST = r"(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:)|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
_PREFIX = rf"{_HOST}(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"


class CredentialSettings(Section, frozen=True, kw_only=True):
    """`[images.credentials.NAME]`: the credentials for the pull secret NAME of a pipeline."""

    registry: Text
    """Host of the registry: `HOST` or `HOST:PORT`, in lower case."""
    username: Text
    """User name at the registry, without a colon; for `nvcr.io` it is `$oauthtoken`."""
    password_file: Path
    """File with the password, an absolute path. It is read at each pull. It must not be readable by
    all users, nor writable by its group."""


class ImagesSettings(Section, frozen=True, kw_only=True):
    """`[images]`: where the images of operators come from."""

    registries: tuple[Text, ...] = ()
    """Registries to search, in this order, for an image whose name has no host:
    `HOST[:PORT][/PATH]`."""
    pull: Literal["never", "missing"] = "never"
    """Whether to pull images. `missing`: an image that is not on this machine is pulled from its
    registry. `never`: only images that are on this machine are used."""
    allow: tuple[Text, ...] = ()
    """Registries to pull from, in addition to `registries`: `HOST[:PORT][/PATH]`, `*.DOMAIN` for
    all hosts of a domain, `*` for all public registries. An empty list means `*`."""
    pull_seconds: Seconds | None = None
    """Maximum time of one pull. Default: 1800."""
    insecure_registries: tuple[Text, ...] = ()
    """Hosts (`HOST` or `HOST:PORT`) to pull from over plain HTTP, or without verifying their TLS
    certificate."""
    path: Path | None = None
    """Folder of image archives; each archive in it is loaded. Default: `<state>/images.d`."""
    credentials: dict[str, CredentialSettings] = msgspec.field(default_factory=dict)
    """Credentials of registries, by the names that `pull-secrets` of pipelines use."""


def mistakes_of(images: ImagesSettings) -> list[str]:
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
