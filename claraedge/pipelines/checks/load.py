"""Loads a definition: turns its text into a checked, resolved pipeline, or a list of problems.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.checks.fields import Fields
from claraedge.pipelines.checks.graph import link
from claraedge.pipelines.checks.imports import Imports
from claraedge.pipelines.checks.operators import Draft, read_operator
from claraedge.pipelines.model import DefinitionFile, Pipeline
from claraedge.pipelines.syntax.documents import Document, Documents
from claraedge.pipelines.syntax.grammar import API_VERSIONS, TYPED_FROM, PipelineDocument
from claraedge.pipelines.syntax.nodes import ListNode, ObjectNode
from claraedge.pipelines.syntax.parameters import Argument, Resolver, declare
from claraedge.pipelines.syntax.problems import At, Problem, Report, shown

_NO_ARGUMENTS: Mapping[str, str] = MappingProxyType({})
_ORCHESTRATORS = ("Clara", "Argo")
#: The longest definition that stays loaded, in characters: that of some 2,000 operators.
_KEPT = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The result of loading a definition."""

    pipeline: Pipeline | None
    """None if, and only if, there is an error."""
    problems: tuple[Problem, ...]
    """Errors and warnings, in the order of the file."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "warning")


def load_files(files: Sequence[DefinitionFile]) -> Loaded:
    """Does the same as `load` for the files alone; the last small definitions stay loaded, since
    pages and calls about one pipeline follow each other.
    """
    small = sum(len(file.content) for file in files) <= _KEPT
    return (_load_files if small else load)(tuple(files))


@lru_cache(maxsize=4)
def _load_files(files: tuple[DefinitionFile, ...]) -> Loaded:
    return load(files)


def load(
    files: Sequence[DefinitionFile],
    arguments: Mapping[str, str] = _NO_ARGUMENTS,
    *,
    final: bool = False,
    device: Device | None = None,
    job: str | None = None,
) -> Loaded:
    """Reads, resolves and checks a definition; the first file is its root. Never raises.

    `arguments` are values for the definition's parameters. A placeholder without a value is a
    warning, and an error with `final`. Values that contain such a placeholder are not checked, and
    appear in the pipeline as written, or as missing where no text is possible (`from`, `requests`):
    load a pipeline that is to run with `final`. `device`: requests are checked against it. `job`:
    the id that the placeholder `JOB_ID` stands for.
    """
    report = Report()
    if not files:
        report.error(
            "no-definition",
            At("(no file)"),
            "the definition has no file",
            "begin with `api-version: 0.4.0`, `name: NAME` and `operators:`",
        )
        return Loaded(pipeline=None, problems=report.problems())
    documents = Documents(files, report)
    root = documents.root()
    pipeline = None
    if root is not None:
        resolver = Resolver(report, final=final, job=job)
        imports = Imports(documents, resolver, report)
        pipeline = _pipeline(_resolved(root, arguments, resolver, report), imports, device, report)
        _report_unused(documents, root, report)
    return Loaded(pipeline=None if report.failed else pipeline, problems=report.problems())


def _resolved(
    document: Document, arguments: Mapping[str, str], resolver: Resolver, report: Report
) -> ObjectNode:
    """Returns the root document with its placeholders filled."""
    root = document.root
    written = next((k for k, _ in root.entries if k.text == "parameters"), root)
    given = {name: Argument(text=text, at=written) for name, text in arguments.items()}
    parameters = declare(root.get("parameters"), given, report)
    return replace(
        root,
        entries=tuple(
            (k, v if k.text == "parameters" else resolver.resolve(v, parameters))
            for k, v in root.entries
        ),
    )


def _report_unused(documents: Documents, root: Document, report: Report) -> None:
    if report.failed:
        return  # an import that failed may refer to it
    for unused in documents.unused():
        report.opens(unused.path)
        report.warning(
            "unused-file",
            At(unused.path),
            "no document imports this file, so it has no effect",
            f"leave it out; the pipeline is read from {shown(root.path)}",
        )


def _pipeline(
    node: ObjectNode, imports: Imports, device: Device | None, report: Report
) -> Pipeline | None:
    fields = Fields(node, "a pipeline", PipelineDocument, report)
    version = _one_of(
        fields,
        "api-version",
        API_VERSIONS,
        "version of the definition language that claraedge knows",
        report,
        required="add `api-version: 0.4.0` as the first line",
    )
    name = fields.name("name", "a pipeline", required="add `name:`")
    description = fields.text("description")
    orchestrator = _one_of(fields, "orchestrator", _ORCHESTRATORS, "orchestrator", report)
    if orchestrator == "Argo":
        report.warning(
            "orchestrator-unused",
            fields.key("orchestrator"),
            "one engine runs all pipelines, each operator in a container of its own; `Argo` has no"
            " effect",
            "remove the line, or leave it for other platforms",
        )
    nodes = fields.objects("operators", "`- name: NAME` with `container:`")
    written = fields.get("operators")
    if written is None or (isinstance(written, ListNode) and not written.items):
        report.error(
            "no-operators",
            fields.key("operators"),
            "a pipeline has at least one operator",
            "add `operators:` with `- name: NAME` and `container:`",
        )
    drafts = [d for n in nodes if (d := _draft(n, version, imports, device, report)) is not None]
    operators = link(drafts, report)
    timeout = fields.integer("timeout", "seconds")
    secrets = fields.texts("pull-secrets", "`pull-secrets: [NAME]`")
    if report.failed or version is None or name is None:
        return None
    return Pipeline(
        api_version=version,
        name=name.text,
        description=description,
        orchestrator=orchestrator,
        timeout=timeout,
        pull_secrets=tuple(dict.fromkeys(secret.text for secret in secrets)),
        operators=operators,
    )


def _draft(
    node: ObjectNode,
    version: str | None,
    imports: Imports,
    device: Device | None,
    report: Report,
) -> Draft | None:
    whole = imports.operator(node)
    if whole is None:
        return None
    version = whole.api_version or version
    typed = version is not None and version >= TYPED_FROM
    return read_operator(whole.node, typed, imports, device, report)


def _one_of(
    fields: Fields,
    name: str,
    words: Sequence[str],
    what: str,
    report: Report,
    *,
    required: str = "",
) -> str | None:
    """Returns one of a few words; None where it is missing, or wrong, which is reported."""
    value = fields.scalar(name, required=required)
    if value is None or value.text in words:
        return value.text if value is not None else None
    report.error(
        f"unknown-{name}",
        value,
        f"{shown(value.text)} is no {what}",
        report.speller.fix(value.text, words, f"use one of {', '.join(words)}"),
    )
    return None
