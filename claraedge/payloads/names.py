"""File names inside a payload; every name is resolved here. Pure.

Source: Clara 0.8.1, Payloads: names are relative to the payload's root, a leading `/` or `./` is
ignored, case is preserved, and a download returns the only match without regard to case, or else
the exact one.
"""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.errors import (
    AmbiguousFileNameError,
    FileNotFoundInPayloadError,
    InvalidFileNameError,
)

MAX_PART_BYTES = 255
MAX_NAME_BYTES = 3072
#: Limit for folders plus the file itself. Code that walks a tree descends one level at a time.
MAX_PARTS = 128


def normalise(name: str) -> str:
    """Returns the stored form: `/x`, `./x`, `.//x` and `x` all become `x`.

    Raises InvalidFileNameError for a name that is empty, too long, a folder, or leaves the payload.
    """
    shown = repr(name if len(name) <= 80 else name[:77] + "...")
    if "\x00" in name:
        raise InvalidFileNameError(f"the file name {shown} holds a NUL character; leave it out")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise InvalidFileNameError(
            f"the file name {shown} is longer than {MAX_NAME_BYTES} bytes; use a shorter one"
        )
    if name.endswith(("/", "/.")):
        raise InvalidFileNameError(f"the file name {shown} names a folder; name a file")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts:
        raise InvalidFileNameError("the file name is empty; give the name of a file")
    for part in parts:
        if part == "..":
            raise InvalidFileNameError(
                f"the file name {shown} holds '..'; names are relative to the payload, without '..'"
            )
        if len(part.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES:
            raise InvalidFileNameError(
                f"a part of the file name {shown} is longer than {MAX_PART_BYTES} bytes; shorten it"
            )
    return "/".join(parts)


def folder_name(name: str) -> str:
    """Returns the stored form of a folder's name: `/a/`, `./a` and `a` all become `a`; the root
    folder becomes an empty name.

    Raises InvalidFileNameError.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return normalise("/".join(parts)) if parts else ""


def below(prefix: str, name: str) -> str:
    """Returns a normalised name with a prefix, such as `input/`, unless it begins with it."""
    return name if name.startswith(prefix) else prefix + name


def check_depth(name: str) -> str:
    """Returns a normalised name that is to be stored. Raises InvalidFileNameError for
    one too deep.
    """
    if name.count("/") >= MAX_PARTS:
        raise InvalidFileNameError(
            f"the file name {name[:77]!r}... has more than {MAX_PARTS} parts; use fewer folders"
        )
    return name


def match(names: Iterable[str], wanted: str) -> str:
    """Returns the stored name that a client means by `wanted`, a normalised name.

    Raises FileNotFoundInPayloadError, AmbiguousFileNameError.
    """
    folded = wanted.casefold()
    matches = []
    for name in names:
        if name == wanted:
            return name
        if name.casefold() == folded:
            matches.append(name)
    if not matches:
        raise FileNotFoundInPayloadError(
            f"the payload has no file {wanted!r}; its Details list the names that it has"
        )
    if len(matches) > 1:
        raise AmbiguousFileNameError(
            f"{wanted!r} could be any of {', '.join(map(repr, sorted(matches)))};"
            " give the name in its exact case"
        )
    return matches[0]


def folders(name: str) -> list[str]:
    """Returns the folders above a normalised name, outermost first: `a/b/c` -> `a`, `a/b`."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
