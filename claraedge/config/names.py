"""`[names]`: what this device adds to the table of names that are nobody's content."""

from __future__ import annotations

from collections.abc import Iterator

from claraedge.config.sections import Section, Text
from claraedge.formats import filenames


class NamesSettings(Section, frozen=True, kw_only=True):
    """`[names]`: shell patterns for names of files and folders that are not user content.

    They take precedence over the built-in table; `claraedge describe names` shows all of them. A
    pattern applies to the last part of a path and contains no slash.
    """

    unfinished: tuple[Text, ...] = ()
    """Files that a program is still writing, and renames when they are complete."""
    leftovers: tuple[Text, ...] = ()
    """Files and folders that programs create for their own use. They are never inputs."""
    content: tuple[Text, ...] = ()
    """User content that the built-in table would exclude, such as `*.part` of a CAD system."""

    def table(self) -> filenames.Names:
        """The whole table of this device."""
        own = filenames.rows_of_device(
            unfinished=self.unfinished, leftovers=self.leftovers, content=self.content
        )
        return filenames.Names((*own, *filenames.TABLE))


def mistakes_of(names: NamesSettings) -> Iterator[str]:
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
