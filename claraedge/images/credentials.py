"""Resolves pull secrets to the configured credentials, whose passwords are in files."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge import texts
from claraedge.config import CredentialSettings
from claraedge.errors import ConfigurationError, ImagePullError
from claraedge.runner.protocol import Login

_LONGEST = 64 * 1024
#: Permission bits that a password file must not have: write for the group, any for others.
_OPEN = 0o027


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCredential:
    """A configured credential with the name by which pipelines refer to it."""

    name: str
    credential: CredentialSettings

    def login(self) -> Login:
        """Reads the password; blocks. Raises ImagePullError where the file cannot be used."""
        file = self.credential.password_file
        try:
            password = read_password(file)
        except (OSError, ValueError, ConfigurationError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ImagePullError(
                f"the password of the pull secret {self.name} cannot be read from {file}: {reason}"
            ) from error
        return Login(username=self.credential.username, password=password)


def matching(
    credentials: Mapping[str, CredentialSettings], secrets: Sequence[str], registry: str
) -> tuple[NamedCredential, ...]:
    """Returns the credentials in `secrets` that are for this registry's host, in that order."""
    folded = {name.casefold(): name for name in credentials}
    names = [folded[secret.casefold()] for secret in secrets if secret.casefold() in folded]
    return tuple(
        NamedCredential(name=name, credential=credentials[name])
        for name in dict.fromkeys(names)
        if credentials[name].registry == registry
    )


def open_files(credentials: Mapping[str, CredentialSettings]) -> tuple[list[str], list[str]]:
    """Returns (mistakes, warnings): password files that others can access, and unreadable ones.
    Blocks.
    """
    mistakes, warnings = [], []
    for name, credential in credentials.items():
        place = f"images.credentials.{name}.password_file"
        try:
            read_password(credential.password_file)
        except ConfigurationError as error:
            mistakes.append(f"{place}: {credential.password_file} {error}")
        except OSError as error:
            warnings.append(f"{place}: {credential.password_file}: {error.strerror}")
        except ValueError as error:
            warnings.append(f"{place}: {credential.password_file} {error}")
    return mistakes, warnings


def read_password(path: Path) -> str:
    """Returns the text of a password file, without the newline at its end. Blocks.

    Raises OSError, ValueError for a file that is no valid password, and ConfigurationError where
    others than this user and its group could read or change the file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is no regular file")
        if stat.S_IMODE(found.st_mode) & _OPEN:
            raise ConfigurationError(
                f"may be read or changed by others (mode {stat.S_IMODE(found.st_mode):04o});"
                f" `chmod 600 {path}`"
            )
        content = file.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise ValueError("is too large for a password")
    try:
        password = texts.decode(content).removesuffix("\n").removesuffix("\r")
    except texts.NotTextError as error:
        raise ValueError(f"holds no text that can be used: {error}") from error
    if not password:
        raise ValueError("is empty")
    return password
