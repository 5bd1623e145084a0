"""Imports entries from other files: finds the file, fills in its arguments, applies overrides.
Pure.

Source: Clara 0.7.4, import: properties next to `import` replace the imported properties as a whole;
a service is no template, so arguments and placeholders have no effect in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from claraedge.pipelines.checks.fields import Fields
from claraedge.pipelines.syntax.documents import Document, Documents
from claraedge.pipelines.syntax.grammar import API_VERSIONS, ImportObject
from claraedge.pipelines.syntax.nodes import Node, ObjectNode, ScalarNode, kind
from claraedge.pipelines.syntax.parameters import Argument, Parameters, Resolver, declare
from claraedge.pipelines.syntax.problems import At, Report, shown

_EXAMPLE = "`import: {path: FILE}`"
#: Properties of a document itself, and not of the entry in it.
_OF_DOCUMENT = frozenset(["api-version", "parameters", "import"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An entry together with all that it imports."""

    node: ObjectNode
    api_version: str | None
    """The version in the file that it comes from; None: it is written in the pipeline's own file,
    or that file gives none.
    """


class Imports:
    """Resolves the imports of entries."""

    def __init__(self, documents: Documents, resolver: Resolver, report: Report) -> None:
        self._documents = documents
        self._resolver = resolver
        self._report = report

    def operator(self, entry: ObjectNode) -> Whole | None:
        """Resolves an entry of `operators`; None where its import fails, which is reported."""
        layers = [entry]
        chain = {entry.file: None}
        version = None
        while (written := layers[-1].get("import")) is not None:
            document = self._follow(written, chain, "an operator")
            if document is None:
                return None
            chain[document.path] = None
            arguments = self._arguments(written)
            parameters = declare(document.root.get("parameters"), arguments, self._report)
            layers.append(self._resolved(document, parameters))
            version = self._version(document) or version
        return Whole(node=_overlaid(layers), api_version=version)

    def service(self, entry: ObjectNode) -> Whole | None:
        """Resolves an entry of `services`; None where its import fails, which is reported."""
        written = entry.get("import")
        if written is None:
            return Whole(node=entry, api_version=None)
        document = self._follow(written, {entry.file: None}, "a service")
        if document is None:
            return None
        for name, argument in self._arguments(written).items():
            self._report.warning(
                "argument-unused",
                argument.at,
                f"a service has no parameters, so {shown(name)} has no effect",
                "remove it, and write what it should change next to `import`",
            )
        if document.root.get("import") is not None:
            self._report.error(
                "import-in-service",
                _key_of(document.root, "import"),
                "a service cannot be imported from a file that imports in turn",
                "write the service out in this file",
            )
            return None
        for place in _placeholders(document.root):
            self._report.warning(
                "placeholder-in-service",
                place,
                "a service is no template, so its placeholders are not filled",
                "write the value, or write the service out in the operator",
            )
        self._version(document)
        layers = [entry, document.root]
        return Whole(node=_overlaid(layers), api_version=None)

    def _follow(self, written: Node, chain: Mapping[str, None], due: str) -> Document | None:
        """Returns the imported file; None where it is wrong, which is reported.

        `chain`: the files that led to this import, in order. `due`: the kind of entry that is
        needed.
        """
        path = self._path(written)
        document = self._documents.imported(path) if path is not None else None
        if document is None or path is None:
            return None
        if document.path in chain:
            files = list(chain)
            way = " -> ".join([*files[files.index(document.path) :], document.path])
            self._report.error(
                "import-cycle",
                path,
                f"the files import each other: {shown(way, 2000)}",
                "import a file that does not lead back here",
            )
            return None
        if not self._documents.budget.spend(document.nodes, document.characters):
            self._report.error(
                "too-many-values",
                path,
                "the definition is too large once its imports are written out",
                "import large files less often",
            )
            return None
        if document.root.get("operators") is not None:
            self._report.error(
                "import-of-pipeline",
                written,
                f"{shown(document.path)} is a pipeline, and {due} is due here",
                f"import a file that holds {due}: `name:`, `container:` and the like",
            )
            return None
        return document

    def _path(self, written: Node) -> ScalarNode | None:
        if isinstance(written, ScalarNode) and not written.null:
            return written  # `import: FILE`
        if not isinstance(written, ObjectNode):
            self._report.error(
                "wrong-type", written, f"`import` is {kind(written)}", f"write {_EXAMPLE}"
            )
            return None
        fields = Fields(written, "an import", ImportObject, self._report)
        return fields.scalar("path", required="add `path:` with a file of the definition")

    def _arguments(self, written: Node) -> Mapping[str, Argument]:
        node = written.get("args") if isinstance(written, ObjectNode) else None
        if node is None or (isinstance(node, ScalarNode) and node.null):
            return {}
        if not isinstance(node, ObjectNode):
            self._report.error(
                "wrong-type",
                node,
                f"`args` is {kind(node)}",
                "write an object, one `NAME: value` a line",
            )
            return {}
        arguments = {}
        for key, value in node.entries:
            if isinstance(value, ScalarNode):
                text = "" if value.null else value.text
                arguments[key.text] = Argument(text=text, at=key, unresolved=value.unresolved)
            else:
                self._report.error(
                    "wrong-type",
                    value,
                    f"the argument {shown(key.text)} is {kind(value)}",
                    "write a single value",
                )
        return arguments

    def _resolved(self, document: Document, parameters: Parameters) -> ObjectNode:
        root = document.root
        return replace(
            root,
            entries=tuple(
                (k, v if k.text == "parameters" else self._resolver.resolve(v, parameters))
                for k, v in root.entries
            ),
        )

    def _version(self, document: Document) -> str | None:
        version = document.root.get("api-version")
        if version is None:
            return None
        if isinstance(version, ScalarNode) and version.text in API_VERSIONS:
            return version.text
        self._report.error(
            "unknown-api-version",
            version,
            f"{shown(version.text) if isinstance(version, ScalarNode) else kind(version)} is no"
            " version of the definition language that claraedge knows",
            f"use one of {', '.join(API_VERSIONS)}; most pipelines use 0.4.0",
        )
        return None


def _overlaid(layers: Iterable[ObjectNode]) -> ObjectNode:
    """Merges layers: a property of a later layer is taken where the earlier ones do not have it."""
    first, *others = layers
    entries = [e for e in first.entries if e[0].text != "import"]
    taken = {*_OF_DOCUMENT, *(key.text for key, _ in entries)}
    for layer in others:
        more = [e for e in layer.entries if e[0].text not in taken]
        taken |= {key.text for key, _ in more}
        entries += more
    return replace(first, entries=tuple(entries))


def _placeholders(node: Node) -> Iterable[ScalarNode]:
    if isinstance(node, ScalarNode):
        if "${{" in node.text:
            yield node
        return
    for child in node.children():
        yield from _placeholders(child)


def _key_of(node: ObjectNode, name: str) -> ScalarNode | At:
    return next((k for k, _ in node.entries if k.text == name), At(node.file))
