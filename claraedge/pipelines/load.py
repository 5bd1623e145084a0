"""A definition's text to a checked, resolved pipeline, or to all that is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from claraedge.pipelines.fields import Fields
from claraedge.pipelines.graph import link
from claraedge.pipelines.model import DefinitionFile, Pipeline
from claraedge.pipelines.nodes import ListNode, ObjectNode, ScalarNode, kind
from claraedge.pipelines.operators import read_operator
from claraedge.pipelines.parameters import Resolver, declare
from claraedge.pipelines.problems import Problem, Report, shown
from claraedge.pipelines.reader import At, read

API_VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0")
_TYPED_FROM = "0.5.0"
_PIPELINE = (
    "api-version",
    "name",
    "description",
    "parameters",
    "operators",
    "orchestrator",
    "pull-secrets",
)
_BEGIN = "begin the file with `api-version: 0.4.0`, `name: NAME` and `operators:`"
_NO_ARGUMENTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came of a definition."""

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


def load(
    files: Sequence[DefinitionFile],
    arguments: Mapping[str, str] = _NO_ARGUMENTS,
    *,
    final: bool = False,
) -> Loaded:
    """Reads, resolves and checks a definition; the first file is its root. Never raises.

    `arguments` are values for the definition's parameters. A placeholder without a value is a
    warning, and an error with `final`. What rests on such a placeholder is not checked, and stands
    in the pipeline as written, or as not written where it cannot (`from`, `requests`): a pipeline
    that is to run is loaded with `final`.
    """
    if not files:
        report = Report("(no file)")
        report.error("no-definition", At(1, 1), "the definition has no file", _BEGIN)
        return Loaded(pipeline=None, problems=report.problems())
    report = Report(files[0].path)
    pipeline = _load_root(files[0], arguments, final, report)
    problems = list(report.problems())
    for unused in files[1:]:
        other = Report(unused.path)
        other.warning(
            "unused-file",
            At(1, 1),
            "no document imports this file, so it has no effect",
            f"leave it out; the pipeline is read from {shown(files[0].path)}, the first file",
        )
        problems += other.problems()
    return Loaded(pipeline=None if report.failed else pipeline, problems=tuple(problems))


def _load_root(
    file: DefinitionFile, arguments: Mapping[str, str], final: bool, report: Report
) -> Pipeline | None:
    root = read(file.content, report)
    if root is None:
        return None
    if not isinstance(root, ObjectNode):
        report.error("wrong-type", root, f"the document is {kind(root)}", _BEGIN)
        return None
    written = root.get("parameters")
    keys = {key.text: key for key, _ in root.entries}
    parameters = declare(written, arguments, keys.get("parameters", root), report)
    resolver = Resolver(parameters, report, final=final)
    resolved = ObjectNode(
        line=root.line,
        column=root.column,
        entries=tuple(
            (key, value if value is written else resolver.resolve(value))
            for key, value in root.entries
        ),
    )
    return _pipeline(Fields(resolved, "a pipeline", _PIPELINE, report), report)


def _pipeline(fields: Fields, report: Report) -> Pipeline | None:
    version = _api_version(fields, report)
    name = fields.name("name", "a pipeline", required="add `name:`")
    description = fields.get("description")
    _orchestrator(fields, report)
    fields.refuse_later(
        "pull-secrets",
        "credentials for pulling images",
        "remove it, and bring the images onto the device before the first job",
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
    typed = version is not None and version >= _TYPED_FROM
    drafts = [d for n in nodes if (d := read_operator(n, typed, report)) is not None]
    operators = link(drafts, report)
    if report.failed or version is None or name is None:
        return None
    return Pipeline(
        api_version=version,
        name=name.text,
        description=description.text if isinstance(description, ScalarNode) else "",
        operators=operators,
    )


def _api_version(fields: Fields, report: Report) -> str | None:
    version = fields.scalar("api-version", required="add `api-version: 0.4.0` as the first line")
    if version is None or version.text in API_VERSIONS:
        return version.text if version is not None else None
    report.error(
        "unknown-api-version",
        version,
        f"{shown(version.text)} is no version of the definition language that claraedge knows",
        f"use one of {', '.join(API_VERSIONS)}; most pipelines use 0.4.0",
    )
    return None


def _orchestrator(fields: Fields, report: Report) -> None:
    value = fields.scalar("orchestrator")
    if value is None or value.unresolved or value.text == "Clara":
        return
    if value.text == "Argo":
        report.error(
            "not-supported",
            value,
            "the orchestrator `Argo` is not supported yet by this version of claraedge",
            "write `orchestrator: Clara`, or remove the line",
        )
    else:
        report.error(
            "unknown-orchestrator",
            value,
            f"{shown(value.text)} is no orchestrator",
            "write `orchestrator: Clara`, or remove the line",
        )
