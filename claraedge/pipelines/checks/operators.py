"""Checks one entry of `operators:` on its own; `graph` checks the links between operators. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from claraedge.pipelines.checks.containers import read_container, read_requests, read_variables
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.checks.entries import DraftEntry, check_paths, read_inputs, read_outputs
from claraedge.pipelines.checks.fields import Fields
from claraedge.pipelines.checks.imports import Imports
from claraedge.pipelines.checks.services import read_services
from claraedge.pipelines.model import ContainerDefinition, Requests, Retry, Service
from claraedge.pipelines.syntax.grammar import ModelEntry, OperatorEntry, OrderEntry, RetryObject
from claraedge.pipelines.syntax.nodes import ObjectNode, ScalarNode, kind
from claraedge.pipelines.syntax.problems import Location, Report, shown

_LONGEST_MODEL = 255
_LAST_CODE = 255
_NETWORKS = ("none", "outside")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An operator before its inputs are linked to outputs of others."""

    node: ObjectNode
    name: ScalarNode | None
    description: str
    container: ContainerDefinition | None
    inputs: tuple[DraftEntry, ...]
    outputs: tuple[DraftEntry, ...]
    variables: Mapping[str, str]
    requests: Requests
    timeout: int | None
    retry: Retry | None
    outside: bool
    order: tuple[ScalarNode, ...]
    models: tuple[str, ...]
    services: tuple[Service, ...]

    @cached_property
    def named_outputs(self) -> Mapping[str, DraftEntry]:
        """Folded name -> output."""
        return {o.name.text.casefold(): o for o in self.outputs if o.name is not None}

    @cached_property
    def wrong_outputs(self) -> bool:
        """Whether the name of an output is wrong, which is reported."""
        return any(o.name is None and o.node.get("name") is not None for o in self.outputs)

    @cached_property
    def open_outputs(self) -> bool:
        """Whether the name of an output contains a placeholder without a value."""
        return any(o.name is not None and o.name.unresolved for o in self.outputs)

    @property
    def name_at(self) -> Location:
        """The place of its name: the entry itself for an imported name."""
        imported = self.name is None or self.name.file != self.node.file
        return self.node if imported or self.name is None else self.name


def read_operator(
    node: ObjectNode, typed: bool, imports: Imports, device: Device | None, report: Report
) -> Draft:
    """Reads an operator from its entry, `node`, in which imports are resolved.

    `typed`: whether its api-version requires types.
    """
    fields = Fields(node, "an operator", OperatorEntry, report)
    name = fields.name("name", "an operator", required="add `name:`")
    container, inner = read_container(fields, "an operator", report)
    inputs = read_inputs(fields, typed, report)
    outputs = read_outputs(fields, typed, report)
    check_paths((*inputs, *outputs), report)
    return Draft(
        node=node,
        name=name,
        description=fields.text("description"),
        container=container,
        inputs=inputs,
        outputs=outputs,
        # Published pipelines write variables at both places; those of the operator win.
        variables={**inner, **read_variables(fields, report)},
        requests=read_requests(fields, device, report),
        timeout=fields.integer("timeout", "seconds"),
        retry=_retry(fields, report),
        outside=_outside(fields, report),
        order=_order(fields, report),
        models=_models(fields, report),
        services=read_services(fields, imports, device, report),
    )


def _retry(operator: Fields, report: Report) -> Retry | None:
    node = operator.object("retry", "`retry: {attempts: 3, backoff: 10}`")
    if node is None:
        return None
    fields = Fields(node, "`retry`", RetryObject, report)
    if not fields.has("attempts"):
        report.error(
            "missing-property",
            node,
            "`retry` lacks `attempts`",
            "add `attempts:` with how often it is run in all",
        )
    attempts = fields.integer("attempts", "attempts")
    backoff = fields.integer("backoff", "seconds")
    codes = []
    for item in fields.texts("except", "`except: [2, 64]`"):
        if item.unresolved:
            continue
        if item.text.isascii() and item.text.isdigit() and 1 <= int(item.text[:9]) <= _LAST_CODE:
            codes.append(int(item.text))
        else:
            report.error(
                "invalid-exit-code",
                item,
                f"{shown(item.text)} is no exit code of a failure",
                f"write whole numbers from 1 to {_LAST_CODE}",
            )
    if attempts is None:
        return None
    return Retry(
        attempts=attempts,
        backoff=1 if backoff is None else backoff,
        exceptions=tuple(dict.fromkeys(codes)),
    )


def _outside(operator: Fields, report: Report) -> bool:
    value = operator.scalar("network")
    if value is None or value.unresolved or value.text == "none":
        return False
    if value.text != "outside":
        report.error(
            "unknown-network",
            value,
            f"{shown(value.text)} is no network of an operator",
            report.speller.fix(value.text, _NETWORKS, "use `none` or `outside`"),
        )
    elif operator.get("services") is not None or operator.get("models") is not None:
        report.error(
            "network-twice",
            value,
            "an operator with services or models has a private network, which has no way out",
            "send results out by an operator of its own that reads from this one",
        )
    return True


def _order(operator: Fields, report: Report) -> tuple[ScalarNode, ...]:
    """Reads the names in `order`: `- NAME` or `- from: NAME`."""
    example = "`order: [NAME, NAME]`"
    names = []
    for item in operator.items("order", example):
        name: ScalarNode | None
        if isinstance(item, ObjectNode):
            entry = Fields(item, "an entry of `order`", OrderEntry, report)
            name = entry.scalar("from", required="add `from:` with the name of an operator")
        elif isinstance(item, ScalarNode) and item.text and not item.null:
            name = item
        else:
            report.error(
                "wrong-type", item, f"an entry of `order` is {kind(item)}", f"write {example}"
            )
            name = None
        if name is not None:
            names.append(name)
    return tuple(names)


def _models(operator: Fields, report: Report) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for node in operator.objects("models", "`- name: MODEL`"):
        entry = Fields(node, "a model", ModelEntry, report)
        name = entry.scalar("name", required="add `name:` with a model of the repository")
        if name is None:
            continue
        if not name.unresolved and (
            "/" in name.text
            or name.text in (".", "..")
            or not name.text.isprintable()
            or len(name.text.encode()) > _LONGEST_MODEL
        ):
            report.error(
                "invalid-name",
                name,
                f"{shown(name.text)} is no name for a model",
                f"use at most {_LONGEST_MODEL} bytes without a slash",
            )
        elif name.text in names:
            report.warning(
                "duplicate-model",
                name,
                f"the model {shown(name.text)} is named twice",
                "keep one of them",
            )
        names[name.text] = None
    return tuple(names)
