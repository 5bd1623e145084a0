"""Which names in the folder of a model are the model's, in folders and archives alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from claraedge.formats.filenames import Names

#: Windows hides endings, and its Notepad adds one.
_MEANT = frozenset({"config.pbtxt", "config.pbtxt.txt", "config.txt", "config.pbtext", "config.pb"})
_MAX_SHOWN = 5


def is_unfinished(name: str, names: Names) -> bool:
    """Whether it is the name of a download or a copy that has not ended."""
    return names.unfinished(_raw(name)) is not None


def left_out(parts: Sequence[str], names: Names) -> str | None:
    """The outermost part of a path that is nobody's content, with what is above it; else None.

    That is what programs leave in a folder, and all that is hidden: no model has hidden files, and
    editors, version control and caches of its author's have nothing else.
    """
    for depth, name in enumerate(parts, 1):
        hidden = name.startswith(".") and not is_unfinished(name, names)
        if hidden or names.leftover(_raw(name)) is not None:
            return "/".join(parts[:depth])
    return None


def is_meant_as_config(name: str) -> bool:
    """Whether somebody meant `config.pbtxt` and saved it under this name."""
    return name.lower() in _MEANT


def note(paths: Iterable[str]) -> tuple[str, ...]:
    """What the answer to an upload says of what was left out: one sentence, or none."""
    names = sorted(set(paths))
    if not names:
        return ()
    some = ", ".join(name if name.isprintable() else repr(name) for name in names[:_MAX_SHOWN])
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    what = "1 name that is" if len(names) == 1 else f"{len(names)} names that are"
    return (f"left out {what} not part of the model: {some}{more}",)


def _raw(name: str) -> bytes:
    """Names of a file system hold bytes that are no UTF-8 as surrogates."""
    return name.encode(
        "utf-8", "surrogateescape" if "\udc80" <= max(name) <= "\udcff" else "replace"
    )
