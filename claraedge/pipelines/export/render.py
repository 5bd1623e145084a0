"""Writes a resolved pipeline as one definition, which loads to the same pipeline again. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

import yaml

from claraedge.pipelines.export.drawing import text as drawn
from claraedge.pipelines.model import (
    ContainerDefinition,
    Input,
    IoEntry,
    Operator,
    Pipeline,
    Requests,
    Retry,
    Service,
)
from claraedge.pipelines.syntax.names import is_name
from claraedge.pipelines.syntax.parameters import JOB_ID

UNTYPED = "0.4.0"
"""The newest api-version that does not require types of inputs and outputs."""

Plain: TypeAlias = "str | int | list[Plain] | dict[str, Plain] | None"

_PLACEHOLDER = re.compile(r"\$\{\{([^{}]*)\}\}")
#: Plain texts that some YAML reader parses as a number, in addition to those known to PyYAML.
_LIKE_A_NUMBER = re.compile(
    r"[-+]?(?:0[xXoObB][\da-fA-F_]+|(?:\d[\d_]*)?\.?[\d_]*(?:[eE][-+]?\d+)?)"
)
_BREAKS = re.compile("[\r\x85\u2028\u2029]")
"""Characters that are line breaks in some version of YAML and stay only where they are escaped."""


def definition(pipeline: Pipeline) -> str:
    """Returns the YAML text of a pipeline, without imports and with placeholders filled.

    It contains what was written and differs from the defaults, and loads to an equal pipeline. The
    api-version differs only where an imported operator has no types and the pipeline requires them.
    A placeholder without a value stays, and its name is declared as a parameter without default.
    """
    head, operators = document(pipeline), []
    # Dump each operator separately, to put a blank line between them as people do.
    for operator in head.pop("operators"):  # type: ignore[union-attr]
        operators.append(_dump({"operators": [operator]}).removeprefix("operators:\n"))
    return f"{_dump(head)}\noperators:\n" + "\n".join(operators)


def with_graph(pipeline: Pipeline) -> str:
    """Returns the definition, followed by its graph as comments."""
    graph = "".join(f"# {line}\n" for line in drawn(pipeline).splitlines())
    return f"{definition(pipeline)}\n{graph}"


def document(pipeline: Pipeline) -> dict[str, Plain]:
    """Returns the definition as plain values, in the order of the language's reference."""
    operators: list[Plain] = [_operator(o) for o in pipeline.operators]
    found: dict[str, Plain] = {
        "api-version": _version(pipeline),
        "name": pipeline.name,
        "description": pipeline.description,
        "orchestrator": pipeline.orchestrator,
        "timeout": pipeline.timeout,
        "pull-secrets": list(pipeline.pull_secrets),
    }
    found = _written(found)
    open_names = _placeholders([found, operators], {})
    open_names.pop(JOB_ID.casefold(), None)  # needs no declaration
    if open_names:
        found["parameters"] = dict.fromkeys(open_names.values())
    found["operators"] = operators
    return found


def _version(pipeline: Pipeline) -> str:
    """Returns the pipeline's own version, or the newest that accepts its operators unchanged."""
    entries = (e for o in pipeline.operators for e in (*o.inputs, *o.outputs))
    unnamed = any(e.name is None for o in pipeline.operators for e in o.outputs)
    if unnamed or any(e.type is None for e in entries):
        return min(pipeline.api_version, UNTYPED)
    return pipeline.api_version


def _operator(operator: Operator) -> dict[str, Plain]:
    return _written(
        {
            "name": operator.name,
            "description": operator.description,
            "container": _container(operator.container),
            "input": [_entry(e) for e in operator.inputs],
            "output": [_entry(e) for e in operator.outputs],
            "requests": _requests(operator.requests),
            "variables": dict(operator.variables),
            "timeout": operator.timeout,
            "retry": _retry(operator.retry),
            "network": "outside" if operator.outside else None,
            "order": list(operator.order),
            "models": [{"name": name} for name in operator.models],
            "services": [_service(s) for s in operator.services],
        }
    )


def _service(service: Service) -> dict[str, Plain]:
    return _written(
        {
            "name": service.name,
            "description": service.description,
            "container": None if service.container is None else _container(service.container),
            "deployment": service.deployment or None,
            "component": service.component or None,
            "requests": _requests(service.requests),
            "variables": dict(service.variables),
            "connections": _written(
                {
                    "http": [_written({"name": c.name, "port": c.port}) for c in service.http],
                    "volume": [{"name": c.name, "path": c.path} for c in service.volumes],
                }
            ),
        }
    )


def _container(container: ContainerDefinition) -> dict[str, Plain]:
    tag = container.tag if container.tag != "latest" else None
    return _written({"image": container.image, "tag": tag, "command": list(container.command)})


def _entry(entry: IoEntry) -> dict[str, Plain]:
    return _written(
        {
            "from": entry.source if isinstance(entry, Input) else None,
            "name": entry.name,
            "type": entry.type,
            "element-type": entry.element_type,
            "shape": list(entry.shape) if entry.shape is not None else None,
            # The language decides the path of a value in shared memory.
            "path": None if entry.in_memory else entry.path,
        }
    )


def _requests(requests: Requests) -> dict[str, Plain]:
    return _written(
        {
            "cpu": requests.cpu,
            "memory": requests.memory,
            "gpu": requests.gpu,
            "gpu-memory": requests.gpu_memory,
        }
    )


def _retry(retry: Retry | None) -> dict[str, Plain]:
    if retry is None:
        return {}
    return _written(
        {
            "attempts": retry.attempts,
            "backoff": retry.backoff,
            "except": list(retry.exceptions),
        }
    )


def _written(properties: Mapping[str, Plain]) -> dict[str, Plain]:
    """Drops properties without a value. A number is a value, even 0."""
    return {k: v for k, v in properties.items() if v or isinstance(v, int)}


def _placeholders(value: Plain, found: dict[str, str]) -> dict[str, str]:
    """Returns folded name -> name of every placeholder, in the order of the text."""
    if isinstance(value, str):
        for inside in _PLACEHOLDER.findall(value):
            name = inside.strip()
            if is_name(name):
                found.setdefault(name.casefold(), name)
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            _placeholders(part, found)
    return found


class _Dumper(yaml.SafeDumper):
    """Block style, two spaces per level, with texts quoted where a reader may parse
    them otherwise.
    """

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if _BREAKS.search(text) or text.endswith("\n\n") or text == "\n":
        style = '"'  # in block style such an end would also need a document end marker
    elif "\n" in text:
        style = "|"  # the emitter quotes a text that this style cannot represent
    elif _LIKE_A_NUMBER.fullmatch(text):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dump(value: dict[str, Plain]) -> str:
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=math.inf,
    )
