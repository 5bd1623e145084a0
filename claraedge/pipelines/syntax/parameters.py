"""Parameters of a definition, and the placeholders `${{ NAME }}` that they fill. Pure.

Source: Clara 0.7.4, template. An argument wins over the default; an argument with an undeclared
name is refused. Names are compared without case, like all names of the language.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from claraedge.pipelines.syntax.names import is_name
from claraedge.pipelines.syntax.nodes import ListNode, Node, ObjectNode, ScalarNode, kind
from claraedge.pipelines.syntax.problems import Location, Report, listed, shown

#: Limit for the characters of all scalars with filled placeholders: a few long defaults that are
#: used many times would fill the memory.
MAX_CHARACTERS = 4 << 20

_PLACEHOLDER = re.compile(r"\$\{\{([^{}]*)\}\}|\$\{\{")


JOB_ID = "JOB_ID"
"""The id of the job; needs no declaration, because published pipelines use it without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A value that is passed to a template."""

    text: str
    at: Location
    """The place where an unsuitable argument is reported."""
    unresolved: bool = False
    """Whether it contains a placeholder of the importing file without a value (yet)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The parameters that a template declares, and their values."""

    names: Mapping[str, str]
    """Folded name -> name as declared."""
    values: Mapping[str, str]
    """Folded name -> argument or default; a parameter with neither is absent."""
    unresolved: frozenset[str] = frozenset()
    """Folded names whose value is not known yet."""


def declare(node: Node | None, arguments: Mapping[str, Argument], report: Report) -> Parameters:
    """Reads `parameters:` and overrides the defaults by the arguments."""
    names: dict[str, str] = {}
    values: dict[str, str] = {}
    if isinstance(node, ObjectNode):
        for key, value in node.entries:
            _declare_one(key, value, names, values, report)
    elif node is not None and not (isinstance(node, ScalarNode) and node.null):
        report.error(
            "wrong-type",
            node,
            f"`parameters` is {kind(node)}",
            "write it as an object, one `NAME: default` a line",
        )
    given: dict[str, Argument] = {}
    for name, argument in arguments.items():
        folded = name.casefold()
        if folded not in names:
            declared = listed(names.values()) or "none"
            report.error(
                "undeclared-argument",
                argument.at,
                f"a value is given for {shown(name)}, which `parameters` does not declare",
                report.speller.fix(
                    name,
                    names.values(),
                    f"declare it under `parameters`, or leave it out (declared: {declared})",
                ),
            )
        elif folded in given:
            report.error(
                "duplicate-argument",
                argument.at,
                f"two values are given for {shown(names[folded])} (names are compared without"
                " case)",
                "give one",
            )
        else:
            values[folded] = argument.text
        given.setdefault(folded, argument)
    return Parameters(
        names=names,
        values=values,
        unresolved=frozenset(n for n, argument in given.items() if argument.unresolved),
    )


def _declare_one(
    key: ScalarNode, value: Node, names: dict[str, str], values: dict[str, str], report: Report
) -> None:
    folded = key.text.casefold()
    if not is_name(key.text):
        report.error(
            "invalid-name",
            key,
            f"{shown(key.text)} is no name for a parameter",
            "use 1 to 255 of the characters A-Z, a-z, 0-9, `-` and `_`",
        )
    elif folded in names:
        report.error(
            "duplicate-parameter",
            key,
            f"{shown(key.text)} is declared twice (names are compared without case)",
            "keep one of them",
        )
    elif not isinstance(value, ScalarNode):
        report.error(
            "wrong-type",
            value,
            f"the default of {shown(key.text)} is {kind(value)}",
            "write a text",
        )
    elif "${{" in value.text:
        report.error(
            "placeholder-in-default",
            value,
            f"the default of {shown(key.text)} holds a placeholder, and defaults are taken as they"
            " stand",
            "write the text itself",
        )
    elif not value.null:
        values[folded] = value.text
    names.setdefault(folded, key.text)


class Resolver:
    """Fills placeholders in the scalars of the documents of one definition."""

    def __init__(self, report: Report, *, final: bool, job: str | None) -> None:
        """`final`: every placeholder must have a value. `job`: the id that `JOB_ID` stands for."""
        self._report = report
        self._final = final
        self._job = job
        self._characters = MAX_CHARACTERS
        self._overflowed = False

    def resolve(self, node: Node, parameters: Parameters) -> Node:
        """Returns the node with its placeholders filled; names of properties contain none."""
        match node:
            case ScalarNode():
                return self._scalar(node, parameters)
            case ListNode():
                items = tuple(self.resolve(item, parameters) for item in node.items)
                same = all(map(operator.is_, items, node.items))
                return node if same else replace(node, items=items)
            case ObjectNode():
                entries = tuple((k, self.resolve(v, parameters)) for k, v in node.entries)
                same = all(a is b for (_, a), (_, b) in zip(entries, node.entries, strict=True))
                return node if same else replace(node, entries=entries)

    def _scalar(self, node: ScalarNode, parameters: Parameters) -> ScalarNode:
        if "${{" not in node.text:
            return node
        parts: list[str] = []
        end = 0
        unresolved = False
        for found in _PLACEHOLDER.finditer(node.text):
            value, known = self._value(found, node, parameters)
            unresolved = unresolved or not known
            parts += node.text[end : found.start()], value
            end = found.end()
            self._characters -= len(value)
            if self._characters < 0:
                break
        self._characters -= len(node.text)
        if self._characters < 0:
            if not self._overflowed:
                self._report.error(
                    "too-many-values",
                    node,
                    f"the definition grows beyond {MAX_CHARACTERS >> 20} MiB when placeholders are"
                    " filled",
                    "use shorter values",
                )
            self._overflowed = True
            return replace(node, plain=False, unresolved=True)
        parts.append(node.text[end:])
        # A value is a text, even if it is empty or reads `null`.
        return replace(node, text="".join(parts), plain=False, unresolved=unresolved)

    def _value(
        self, found: re.Match[str], node: ScalarNode, parameters: Parameters
    ) -> tuple[str, bool]:
        """Returns the text to insert, and whether it is known."""
        written = found.group(1)
        if written is None or not is_name(written.strip()):
            self._report.error(
                "malformed-placeholder",
                node,
                f"{shown(found.group())} is no placeholder",
                "write `${{ NAME }}` with the name of a parameter",
            )
            return found.group(), False
        name = written.strip()
        folded = name.casefold()
        value = parameters.values.get(folded)
        if value is not None:
            return value, folded not in parameters.unresolved
        if folded == JOB_ID.casefold() and folded not in parameters.names:
            if self._job is not None:
                return self._job, True
            if not self._final:
                return found.group(), False  # the job will have an id
        self._unresolved(name, node, parameters)
        return found.group(), False

    def _unresolved(self, name: str, node: ScalarNode, parameters: Parameters) -> None:
        declared = parameters.names
        if name.casefold() in declared:
            message = f"the parameter {shown(name)} has no default and no value is given"
            fix = "give it a default, or a value when the job is started"
        else:
            message = f"the placeholder {shown('${{ ' + name + ' }}')} names no parameter"
            fix = self._report.speller.fix(
                name, declared.values(), f"declare {shown(name)} under `parameters`"
            )
        report = self._report.error if self._final else self._report.warning
        report("unresolved-placeholder", node, message, fix)


def uses_job_id(text: str) -> bool:
    """Whether a document may contain the placeholder `JOB_ID`, so that it differs for each job."""
    return JOB_ID.casefold() in text.casefold()
