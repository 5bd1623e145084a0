"""`[names]`: what this device adds to the table of names that are nobody's content."""

from __future__ import annotations

from collections.abc import Iterator

from claraedge.config.sections import Section, Text
from claraedge.formats import filenames


class Names(Section, frozen=True, kw_only=True):
    """`[names]`: shell patterns for file and folder names; they come before the table's.

    `claraedge describe names` shows the whole table.
    """

    unfinished: tuple[Text, ...] = ()
    """Files that a program is still writing; it renames them at the end."""
    leftovers: tuple[Text, ...] = ()
    """What programs put there for themselves; it is never an input."""
    content: tuple[Text, ...] = ()
    """The user's content, although the table says otherwise, as `*.part` of a CAD system."""

    def table(self) -> filenames.Names:
        """The whole table of this device."""
        own = filenames.rows_of_device(
            unfinished=self.unfinished, leftovers=self.leftovers, content=self.content
        )
        return filenames.Names((*own, *filenames.TABLE))


def mistakes_of(names: Names) -> Iterator[str]:
    """Patterns without effect, or with too much of it."""
    for key in ("unfinished", "leftovers", "content"):
        for number, pattern in enumerate(getattr(names, key)):
            if "/" in pattern:
                yield (
                    f"names.{key}[{number}]: {pattern!r} has a slash; a pattern is for a name, the"
                    " last part of a path"
                )
            elif key != "content" and not pattern.strip("*"):
                yield f"names.{key}[{number}]: {pattern!r} fits every name; nothing would be taken"
