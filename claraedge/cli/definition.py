"""The files of a definition on this machine: those that are named, and those that they import."""

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
from claraedge.pipelines.syntax.gathering import MAX_BYTES, MAX_FILES, beside, imports_of
from claraedge.pipelines.syntax.nodes import ObjectNode
from claraedge.pipelines.syntax.problems import Problem, Report
from claraedge.pipelines.syntax.reader import read

_SOME_JOB = "0" * 32
"""An id as jobs have them."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file."""

    place: str
    """Absolute, with `.` and `..` worked out."""
    shown: str
    """As it was named, or as the file that imports it leads to it."""
    content: str | None = None
    """None: it could not be read; then `problems` say why."""
    problems: tuple[Problem, ...] = ()
    """Of reading it as YAML; a file that can be loaded has its problems told again there."""
    is_yaml: bool = False
    is_pipeline: bool = False
    """It has `operators`, so it is the root of a definition."""
    imports: tuple[str, ...] = ()
    """Paths as written, relative to the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of a definition; problems carry paths as the user knows them."""

    pipeline: Pipeline | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A set of files, the root first."""

    files: tuple[DefinitionFile, ...]
    """Under names relative to the folder that holds all of them, so that no name leads out of it
    and imports find each other on a machine that knows nothing of this one."""
    shown: Mapping[str, str]
    """Name -> the path as the user knows it."""
    problems: tuple[Problem, ...]
    """Of files that could not be read, and of the set itself. All are errors."""

    def load(
        self, variables: Mapping[str, str], *, final: bool = False, whole: bool = False
    ) -> Checked:
        """Reads, resolves and checks it, as a daemon does.

        `final`: as when a job is started. `whole`: placeholders that a pipeline cannot carry are
        errors.
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


class Disk:
    """Reads each file once."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        """`variables` fill placeholders in the paths of imports of the files that are named."""
        self._variables = variables or {}
        self._sources: dict[str, Source | None] = {}

    def named(self, path: Path) -> Source:
        """A file that the user named."""
        source = self._source(os.path.normpath(Path.cwd() / path), str(path), named=True)
        assert source is not None, "a named file is told to be missing"
        return source

    def reached(self, roots: Iterable[Source]) -> list[Source]:
        """The files, and all that they import, each once; missing ones are left to the loader.

        Ends beyond the bounds of a definition: then there is more than it may hold.
        """
        found = {root.place: root for root in roots}
        waiting = list(found.values())
        size = sum(len(s.content or "") for s in waiting)
        while waiting and len(found) <= MAX_FILES and size <= MAX_BYTES:
            importing = waiting.pop(0)
            for path in importing.imports:
                place = beside(importing.place, path)
                if place in found:
                    continue
                source = self._source(place, beside(importing.shown, path), named=False)
                if source is not None:
                    found[place] = source
                    waiting.append(source)
                    size += len(source.content or "")
        return list(found.values())

    def definition(self, root: Source, more: Iterable[Source] = ()) -> Definition:
        """The set of a root, with all that is imported, and what else the user named."""
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
                        " the platform takes such files as one",
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
    """The definition of files, the first of which is its root.

    Raises PipelineDefinitionError where one cannot be read, or where they are too many.
    """
    disk = Disk()
    first, *more = [disk.named(path) for path in paths]
    definition = disk.definition(first, more)
    if definition.problems:
        raise PipelineDefinitionError(*map(str, definition.problems))
    return definition


def _read(place: str, shown: str, variables: Mapping[str, str] | None) -> Source | None:
    """`variables` None: the file is imported, and None is the answer where it is missing."""
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
    """`special`: also of a pipe, as the shell's `<(...)`, where one may wait for its writer."""

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
    """A path as text, also where its bytes are none."""
    return texts.shown(path)
