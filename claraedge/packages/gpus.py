"""Reads which executables of a plan get GPUs: `metadata.claraedge.gpu`, which is our own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from claraedge.packages.checks import Written
from claraedge.packages.model import Component, Executable
from claraedge.pipelines.syntax.problems import listed, shown

MAX_GPUS = 64


def assigned(metadata: Written, components: Sequence[Component]) -> tuple[Component, ...]:
    """Returns the components with the GPUs of their executables.

    The value is a number, for the only executable of the plan, or an object of names of executables
    and numbers.
    """
    if not isinstance(metadata.value, dict):
        metadata.mapping()
        return tuple(components)
    place = metadata["claraedge"].fields("gpu")["gpu"]
    executables = [each for component in components for each in component.executables]
    names = [each.name for each in executables]
    counts: dict[str, int] = {}
    if isinstance(place.value, dict):
        for name in place.value:
            if names.count(name) == 1:
                counts[name] = place[name].whole(MAX_GPUS, "GPUs")
            elif name in names:
                place[name].wrong(
                    f"several executables of the plan have the name {shown(name)}; give the one"
                    " that needs the GPU another name"
                )
            else:
                place[name].wrong(
                    f"the plan has no executable {shown(name)}; it has {listed(names)}"
                )
    elif place.value is not None and len(names) == 1:
        counts[names[0]] = place.whole(MAX_GPUS, "GPUs")
    elif place.value is not None:
        place.wrong(
            f"the plan has {len(names)} executables; write an object with the name of each that"
            " needs GPUs, and their number"
        )
    return tuple(_with(component, counts) for component in components)


def _with(component: Component, counts: dict[str, int]) -> Component:
    executables: list[Executable] = [
        msgspec.structs.replace(each, gpus=counts.get(each.name, 0))
        for each in component.executables
    ]
    return msgspec.structs.replace(component, executables=tuple(executables))
