"""`claraedge check`: reports mistakes in definitions, without a daemon."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claraedge.cli.options import output, pairs, print_json, variables
from claraedge.cli.output import clean

if TYPE_CHECKING:
    from claraedge.cli.definition import Source
    from claraedge.pipelines.syntax.problems import Problem

_COLOURS = {"error": "red", "warning": "yellow"}


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@variables
@output
def check(files: tuple[Path, ...], variable: tuple[str, ...], json: bool) -> int:
    """Check pipeline definitions without a daemon; exits with 1 if there is an error.

    Each FILE that has `operators` is a pipeline and is checked by itself, with what it imports;
    files of operators and services are checked where a pipeline imports them. Imports are read from
    the disk, whether or not they are named.

    With --variable, which each of the pipelines gets, they are checked as when a job is started:
    every placeholder needs a value.
    """
    read, problems = checked(files, pairs(variable, "--variable"))
    if json:
        print_json(as_json(read, problems))
    else:
        show(problems)
        click.echo(_counts(problems))
    return 1 if any(p.severity == "error" for p in problems) else 0


def checked(
    files: Sequence[Path], given: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """Returns the files that were checked, and all problems of the pipelines in them, each once."""
    from claraedge.cli.definition import DefinitionReader

    disk = DefinitionReader(given)
    named = list({s.place: s for s in (disk.named(path) for path in files)}.values())
    roots = [s for s in named if s.is_pipeline]
    reached = {s.place for s in disk.reached(roots)}
    others = [s for s in named if s.place not in reached]
    # A file that is not YAML may be meant as a pipeline, so its mistakes are reported.
    roots += [s for s in others if not s.is_yaml]
    others = [s for s in others if s.is_yaml]
    if not roots:
        roots, others = others[:1], others[1:]
    problems: dict[Problem, None] = {}
    read: dict[str, None] = {}
    for root in roots:
        read.update(dict.fromkeys(s.shown for s in disk.reached([root])))
        found = disk.definition(root).load(given, final=bool(given))
        problems.update(dict.fromkeys(found.problems))
    for other in others:
        read[other.shown] = None
        problems.update(dict.fromkeys([*other.problems, _unused(other)]))
    return tuple(read), tuple(problems)


def as_json(files: Sequence[str], problems: Sequence[Problem]) -> dict[str, object]:
    """Returns the value that `--output json` prints."""
    return {
        "files": files,
        "errors": sum(p.severity == "error" for p in problems),
        "warnings": sum(p.severity == "warning" for p in problems),
        "problems": problems,
    }


def show(problems: Sequence[Problem], *, err: bool = False) -> None:
    """Prints one line for each problem in the form of compilers, which editors and CI understand.

    With `err` it prints to stderr.
    """
    colour = False if os.environ.get("NO_COLOR") else None  # None: colours only on a terminal
    for problem in problems:
        place = clean(f"{problem.file}:{problem.line}:{problem.column}:")
        word = click.style(f"{problem.severity}:", fg=_COLOURS[problem.severity], bold=True)
        said = clean(f"{problem.message}; {problem.fix} [{problem.code}]")
        click.echo(f"{place} {word} {said}", err=err, color=colour)


def _counts(problems: Sequence[Problem]) -> str:
    counts = {word: sum(p.severity == word for p in problems) for word in _COLOURS}
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for word, n in counts.items())


def _unused(source: Source) -> Problem:
    from claraedge.pipelines.syntax.problems import Problem

    return Problem(
        code="unused-file",
        severity="warning",
        file=source.shown,
        line=1,
        column=1,
        message="no pipeline among the files imports this one, so it is not checked",
        fix="name the pipeline that imports it",
    )
