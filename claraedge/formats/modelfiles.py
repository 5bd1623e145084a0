"""Decides which names in the folder or archive of a model belong to the model. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from claraedge.formats.filenames import Names

#: Names under which people save `config.pbtxt`: Windows hides suffixes, and its Notepad adds one.
_MEANT = frozenset({"config.pbtxt", "config.pbtxt.txt", "config.txt", "config.pbtext", "config.pb"})
_MAX_SHOWN = 5


def is_unfinished(name: str, names: Names) -> bool:
    """Whether a name is that of an unfinished download or copy."""
    return names.unfinished(_raw(name)) is not None


def left_out(parts: Sequence[str], names: Names) -> str | None:
    """Returns the path of the outermost folder or file that is not part of the model, or None.

    This covers files that programs leave in a folder, and all hidden files: no model has hidden
    files, but editors, version control and caches of its author do.
    """
    for depth, name in enumerate(parts, 1):
        hidden = name.startswith(".") and not is_unfinished(name, names)
        if hidden or names.leftover(_raw(name)) is not None:
            return "/".join(parts[:depth])
    return None


def is_meant_as_config(name: str) -> bool:
    """Whether a name was probably meant to be `config.pbtxt`; case is ignored."""
    return name.lower() in _MEANT


def note(paths: Iterable[str]) -> tuple[str, ...]:
    """Returns a note about what was left out of an upload, for its answer: one sentence or none."""
    names = sorted(set(paths))
    if not names:
        return ()
    some = ", ".join(name if name.isprintable() else repr(name) for name in names[:_MAX_SHOWN])
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    what = "1 name that is" if len(names) == 1 else f"{len(names)} names that are"
    return (f"left out {what} not part of the model: {some}{more}",)


def _raw(name: str) -> bytes:
    """Returns the bytes of a name. Surrogates in it stand for bytes that are not UTF-8."""
    return name.encode(
        "utf-8", "surrogateescape" if "\udc80" <= max(name) <= "\udcff" else "replace"
    )
