"""What is wrong with a definition: where, why, and what would be right."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from claraedge.pipelines.spelling import Speller

#: Of each severity; one more problem says how many were left out.
MAX_PROBLEMS = 100


class Place(Protocol):
    """Anything that knows where in its file it stands."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. Programs match on `code`, which never changes its meaning."""

    code: str
    severity: Literal["error", "warning"]
    file: str
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    message: str
    """What is wrong."""
    fix: str
    """What would be right."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}; {self.fix}"


class Report:
    """Collects the problems of one file, so that all are told at once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.speller = Speller()
        self._found: dict[Literal["error", "warning"], list[Problem]] = {"error": [], "warning": []}
        self._more: dict[Literal["error", "warning"], int] = {"error": 0, "warning": 0}

    @property
    def failed(self) -> bool:
        return bool(self._found["error"])

    def error(self, code: str, at: Place, message: str, fix: str) -> None:
        self._add("error", code, at, message, fix)

    def warning(self, code: str, at: Place, message: str, fix: str) -> None:
        self._add("warning", code, at, message, fix)

    def problems(self) -> tuple[Problem, ...]:
        """All, in the order of the file."""
        found = [p for each in self._found.values() for p in each]
        found.sort(key=lambda p: (p.line, p.column))
        for severity, more in self._more.items():
            if more:
                last = self._found[severity][-1]
                found.append(
                    msgspec.structs.replace(
                        last,
                        code="more-problems",
                        message=f"{more} more {severity}s are not shown",
                        fix="mend the first ones and check again",
                    )
                )
        return tuple(found)

    def _add(
        self, severity: Literal["error", "warning"], code: str, at: Place, message: str, fix: str
    ) -> None:
        if len(self._found[severity]) == MAX_PROBLEMS:
            self._more[severity] += 1
            return
        self._found[severity].append(
            Problem(
                code=code,
                severity=severity,
                file=self.file,
                line=at.line,
                column=at.column,
                message=message,
                fix=fix,
            )
        )


def shown(text: str, longest: int = 80) -> str:
    """The text in backticks, on one line and cut, as messages quote it."""
    cut = text if len(text) <= longest else text[: longest - 3] + "..."
    return "`" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut) + "`"
