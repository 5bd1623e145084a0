"""Reads the files of a definition on this machine: the given files and those that they import."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from claraedge import texts
from claraedge.errors import PipelineDefinitionError
from claraedge.pipelines.checks.load import load
from claraedge.pipelines.checks.unfilled import unfilled
from claraedge.pipelines.model import DefinitionFile, Pipeline
from claraedge.pipelines.syntax.gathering import MAX_BYTES, MAX_FILES, imports_of, resolve_import
from claraedge.pipelines.syntax.nodes import ObjectNode
from claraedge.pipelines.syntax.problems import Problem, Report
from claraedge.pipelines.syntax.reader import read

_SOME_JOB = "0" * 32
"""A placeholder for the id of a job."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of a definition."""

    place: str
    """The absolute path, with `.` and `..` resolved."""
    shown: str
    """The path as the user gave it, or relative to the path of the file that imports it."""
    content: str | None = None
    """None if the file could not be read; then `problems` has the reason."""
    problems: tuple[Problem, ...] = ()
    """Problems of reading it as YAML; loading the definition reports them again."""
    is_yaml: bool = False
    is_pipeline: bool = False
    """Whether it has `operators`, so that it is the root of a definition."""
    imports: tuple[str, ...] = ()
    """Imported paths as written, relative to the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The result of checking a definition; problems have paths as the user knows them."""

    pipeline: Pipeline | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """The set of files of a definition, the root first."""

    files: tuple[DefinitionFile, ...]
    """The files, named relative to the folder that contains all of them, so that no name leads out
    of it and imports can be resolved on another machine."""
    shown: Mapping[str, str]
    """The paths as the user knows them, by name."""
    problems: tuple[Problem, ...]
    """Problems of files that could not be read, and of the set itself. All are errors."""

    def load(
        self, variables: Mapping[str, str], *, final: bool = False, whole: bool = False
    ) -> Checked:
        """Reads, resolves and checks the definition, as a daemon does.

        With `final` it checks as at the start of a job. With `whole`, placeholders that cannot stay
        in a pipeline are errors.
        """
        if not self.files:
            return Checked(pipeline=None, problems=self.problems)
        loaded = load(self.files, variables, final=final, job=_SOME_JOB if final else None)
        problems = list(loaded.problems)
        if whole and loaded.pipeline is not None:
            problems += unfilled(self.files, variables)
        known = [msgspec.structs.replace(p, file=self.shown.get(p.file, p.file)) for p in problems]
        problems = [*self.problems, *known]
        failed = any(p.severity == "error" for p in problems)
        return Checked(pipeline=None if failed else loaded.pipeline, problems=tuple(problems))


class DefinitionReader:
    """Reads the files of definitions from the disk, each file once."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        """`variables` fill placeholders in the import paths of the files that the user named."""
        self._variables = variables or {}
        self._sources: dict[str, Source | None] = {}

    def named(self, path: Path) -> Source:
        """Returns a file that the user named."""
        source = self._source(os.path.normpath(Path.cwd() / path), str(path), named=True)
        assert source is not None, "a named file is reported as missing"
        return source

    def reached(self, roots: Iterable[Source]) -> list[Source]:
        """Returns the files and all that they import, each once; the loader reports missing ones.

        Stops once the limits of a definition are exceeded.
        """
        found = {root.place: root for root in roots}
        waiting = list(found.values())
        size = sum(len(s.content or "") for s in waiting)
        while waiting and len(found) <= MAX_FILES and size <= MAX_BYTES:
            importing = waiting.pop(0)
            for path in importing.imports:
                place = resolve_import(importing.place, path)
                if place in found:
                    continue
                source = self._source(place, resolve_import(importing.shown, path), named=False)
                if source is not None:
                    found[place] = source
                    waiting.append(source)
                    size += len(source.content or "")
        return list(found.values())

    def definition(self, root: Source, more: Iterable[Source] = ()) -> Definition:
        """Returns the definition of a root, with all imports and the `more` files of the user."""
        sources = self.reached([root, *more])
        usable = [s for s in sources if s.content is not None]
        problems = [p for s in sources if s.content is None for p in s.problems]
        size = sum(len(s.content.encode()) for s in usable if s.content is not None)
        if len(sources) > MAX_FILES or size > MAX_BYTES:
            problems.append(
                _problem(
                    "definition-too-large",
                    root.shown,
                    f"the definition is more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB",
                    "import less",
                )
            )
        base = os.path.commonpath([Path(s.place).parent for s in sources])
        names: dict[str, str] = {}
        folded: dict[str, Source] = {}
        for source in usable:
            name = _text(os.path.relpath(source.place, base))
            first = folded.setdefault(name.casefold(), source)
            if first is not source:
                problems.append(
                    _problem(
                        "names-differ-by-case",
                        source.shown,
                        f"its name differs from {first.shown} only in upper and lower case, and"
                        " the platform treats such files as one",
                        "rename one of them",
                    )
                )
                continue
            names[source.place] = name
        if root.content is None:
            return Definition(files=(), shown={}, problems=tuple(problems))
        return Definition(
            files=tuple(
                DefinitionFile(path=names[s.place], content=s.content)
                for s in usable
                if s.content is not None and s.place in names
            ),
            shown={names[s.place]: s.shown for s in usable if s.place in names},
            problems=tuple(problems),
        )

    def _source(self, place: str, shown: str, *, named: bool) -> Source | None:
        if place not in self._sources:
            self._sources[place] = _read(place, _text(shown), self._variables if named else None)
        return self._sources[place]


def of_files(paths: Sequence[Path]) -> Definition:
    """Returns the definition of files, of which the first is the root.

    Raises PipelineDefinitionError if a file cannot be read, or if there are too many.
    """
    disk = DefinitionReader()
    first, *more = [disk.named(path) for path in paths]
    definition = disk.definition(first, more)
    if definition.problems:
        raise PipelineDefinitionError(*map(str, definition.problems))
    return definition


def _read(place: str, shown: str, variables: Mapping[str, str] | None) -> Source | None:
    """Reads a file. `variables` None means that it is imported: returns None if it is missing."""
    try:
        content = _content(place, special=variables is not None)
    except texts.NotTextError as error:
        problem = _problem(
            "not-utf-8", shown, error.problem, error.remedy, line=error.line, column=error.column
        )
        return Source(place=place, shown=shown, problems=(problem,))
    except OSError as error:
        if variables is None and error.errno in _ABSENT:
            return None
        problem = _problem(
            "unreadable-file",
            shown,
            f"the file cannot be read: {error.strerror or error}",
            "name a file that you may read",
        )
        return Source(place=place, shown=shown, problems=(problem,))
    report = Report()
    node = read(content, shown, report)
    return Source(
        place=place,
        shown=shown,
        content=content,
        problems=report.problems(),
        is_yaml=node is not None,
        is_pipeline=isinstance(node, ObjectNode) and node.get("operators") is not None,
        imports=()
        if node is None
        else tuple(i.path for i in imports_of(node, shown, variables or {})),
    )


def _content(place: str, *, special: bool) -> str:
    """Returns the text of a file. With `special` it may be a pipe, as the shell's `<(...)`.

    Reading a pipe may wait for its writer.
    """

    def opened(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC | (0 if special else os.O_NONBLOCK))

    with open(place, "rb", opener=opened) as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not special and not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES >> 20} MiB")
    return texts.decode(content)


def _problem(
    code: str, file: str, message: str, fix: str, *, line: int = 1, column: int = 1
) -> Problem:
    return Problem(
        code=code,
        severity="error",
        file=file,
        line=line,
        column=column,
        message=message,
        fix=fix,
    )


def _text(path: str) -> str:
    """Returns a path as text, also if its bytes are not UTF-8."""
    return texts.shown(path)
