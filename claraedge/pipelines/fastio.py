"""Values in shared memory: their types, sizes, and files in a container. Pure.

Source: Clara 0.8.1, operators from api-version 0.5.0 on (types and primitives). The original maps
them by a library; here each value is a file in memory that both ends map. `docs/pipelines.md`
describes them from an operator's view.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from claraedge.pipelines.model import Input, IoEntry, Output, Pipeline

FOLDER = "/clara/fastio"
"""A folder of the container, where definitions may not mount anything."""
OUTPUTS = f"{FOLDER}/output"
"""The folder with the values that an operator writes."""
VARIABLE = "CLARAEDGE_FASTIO"
"""The environment variable that describes an operator's values; see `description`."""

_SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}
#: Every spelling of a primitive -> its short form.
PRIMITIVES: Mapping[str, str] = {
    spelling + bits: short + bits
    for short, long in (("u", "uint"), ("i", "int"), ("f", "float"))
    for spelling in (short, long)
    for bits in _SIZES
    if not (short == "f" and bits == "8")
}
DYNAMIC = -1
"""A length in a shape that is known only at run time."""


def input_path(source: str, name: str) -> str:
    """Returns the path of the file with a value that another operator wrote."""
    return f"{FOLDER}/input/{source}/{name}"


def output_path(name: str) -> str:
    """Returns the path of the file for a value that the operator writes."""
    return f"{OUTPUTS}/{name}"


def size(entry: IoEntry) -> int | None:
    """Returns the size of a value in bytes; None where the writer decides (a string, a dynamic
    shape).
    """
    if entry.type is not None and entry.type in _BYTES:
        return _BYTES[entry.type]
    if entry.type != "array" or entry.element_type is None or DYNAMIC in (entry.shape or ()):
        return None
    return _BYTES[entry.element_type] * math.prod(entry.shape or ())


def total(pipeline: Pipeline) -> int | None:
    """Returns the bytes of all values whose sizes the definition states; None: it has no values."""
    values = [o for operator in pipeline.operators for o in operator.outputs if o.in_memory]
    return sum(size(output) or 0 for output in values) if values else None


def description(inputs: Iterable[Input], outputs: Iterable[Output]) -> str | None:
    """Returns the JSON description of an operator's values; None where it has none.

    `{"inputs": [{"name", "path", "type", "element_type", "shape", "bytes"}], "outputs": [...]}`,
    with short type names (`f32`); `from` names the operator that wrote an input. What does not
    apply is left out.
    """
    variable = {
        "inputs": [_described(i, i.source) for i in inputs if i.in_memory],
        "outputs": [_described(o, None) for o in outputs if o.in_memory],
    }
    return json.dumps(variable, separators=(",", ":")) if any(variable.values()) else None


def _described(entry: IoEntry, source: str | None) -> dict[str, object]:
    properties = {
        "name": entry.name,
        "from": source,
        "path": entry.path,
        "type": entry.type,
        "element_type": entry.element_type,
        "shape": entry.shape,
        "bytes": size(entry),
    }
    return {key: value for key, value in properties.items() if value is not None}


_BYTES: Mapping[str, int] = {short: _SIZES[short[1:]] for short in set(PRIMITIVES.values())}
