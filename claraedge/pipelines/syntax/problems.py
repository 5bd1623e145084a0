"""Problems of a definition: where, why, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Literal, NamedTuple, Protocol

import msgspec

from claraedge.pipelines.syntax.spelling import Speller

#: Limit for the problems of each severity; one more problem reports how many were left out.
MAX_PROBLEMS = 100


class Location(Protocol):
    """A node or any other object with a place in a file."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class At(NamedTuple):
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1


def where(place: Location, seen_from: Location) -> str:
    """Describes a place as seen from another place: `line 3`, `line 3 of b.yaml`."""
    line = f"line {place.line}"
    return line if place.file == seen_from.file else f"{line} of {shown(place.file)}"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One problem. Programs match on `code`, which never changes its meaning."""

    code: str
    severity: Literal["error", "warning"]
    file: str
    line: int
    """Line, from 1."""
    column: int
    """Column in characters, from 1."""
    message: str
    """What is wrong."""
    fix: str
    """What would be right."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}; {self.fix}"


class Report:
    """Collects the problems of all files of a definition, so that they are reported together."""

    def __init__(self) -> None:
        self.speller = Speller()
        self._found: dict[Literal["error", "warning"], dict[Problem, None]] = {
            "error": {},
            "warning": {},
        }
        self._more: dict[Literal["error", "warning"], int] = {"error": 0, "warning": 0}
        self._files: dict[str, int] = {}

    @property
    def failed(self) -> bool:
        """Whether there is an error."""
        return bool(self._found["error"])

    def opens(self, file: str) -> None:
        """Notes that a file is read: its problems come after those of files that were opened
        before.
        """
        self._files.setdefault(file, len(self._files))

    def error(self, code: str, at: Location, message: str, fix: str) -> None:
        """Reports an error: the pipeline cannot be used."""
        self._add("error", code, at, message, fix)

    def warning(self, code: str, at: Location, message: str, fix: str) -> None:
        """Reports a warning: the pipeline can be used."""
        self._add("warning", code, at, message, fix)

    def problems(self) -> tuple[Problem, ...]:
        """Returns all problems, ordered by file, line and column."""
        found = [p for each in self._found.values() for p in each]
        found.sort(key=lambda p: (self._files.get(p.file, len(self._files)), p.line, p.column))
        for severity, more in self._more.items():
            if more:
                found.append(
                    msgspec.structs.replace(
                        next(reversed(self._found[severity])),
                        code="more-problems",
                        message=f"{more} more {severity}s are not shown",
                        fix="correct the first ones and check again",
                    )
                )
        return tuple(found)

    def _add(
        self, severity: Literal["error", "warning"], code: str, at: Location, message: str, fix: str
    ) -> None:
        problem = Problem(
            code=code,
            severity=severity,
            file=at.file,
            line=at.line,
            column=at.column,
            message=message,
            fix=fix,
        )
        found = self._found[severity]
        if problem in found:
            return  # of a file that is imported twice
        if len(found) == MAX_PROBLEMS:
            self._more[severity] += 1
            return
        found[problem] = None


def listed(names: Iterable[str], most: int = 10) -> str:
    """Lists names for a message; names beyond `most` are replaced by dots."""
    first = [shown(name) for name in islice(names, most + 1)]
    return ", ".join(first[:most]) + (", ..." if len(first) > most else "")


def shown(text: str, longest: int = 80) -> str:
    """Returns the text in backticks, shortened to one line, as messages quote it."""
    cut = text if len(text) <= longest else text[: longest - 3] + "..."
    return "`" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut) + "`"
