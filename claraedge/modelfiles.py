"""Which names in the folder of a model are the model's, in folders and archives alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from claraedge.filenames import is_ignored, is_temporary

#: What version control, editors and Python leave in the folder of somebody who makes models.
_OF_AUTHORS = frozenset(
    {".git", ".gitattributes", ".gitignore", ".gitkeep", ".gitmodules", ".hg", ".svn", ".dvc"}
    | {".cache", ".idea", ".vscode", ".ipynb_checkpoints", "__pycache__"}
)
#: Windows hides endings, and its Notepad adds one.
_MEANT = frozenset({"config.pbtxt", "config.pbtxt.txt", "config.txt", "config.pbtext", "config.pb"})
_MAX_SHOWN = 5


def is_unfinished(name: str) -> bool:
    """Whether it is the name of a download or a copy that has not ended."""
    return is_temporary(_raw(name)) and not name.startswith((".", "~$"))


def left_out(parts: Sequence[str]) -> str | None:
    """The outermost part of a path that is nobody's content, with what is above it; else None.

    That is what desktops, editors, version control and caches leave in a folder.
    """
    for depth, name in enumerate(parts, 1):
        if name in _OF_AUTHORS or (is_ignored(_raw(name)) and not is_unfinished(name)):
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
