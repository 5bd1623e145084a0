"""Makes the bag jobs of a deployment's components, or finds all mistakes. Pure."""

from __future__ import annotations

import msgspec

from claraedge.deployments.model import ComponentRequest
from claraedge.packages.bag_jobs import BagJobDefinition, find_mistakes, read_definition
from claraedge.packages.model import Component

#: Jobs that start with one component.
MAX_BAG_JOBS = 16


def bag_job(
    component: Component, job: BagJobDefinition, place: str
) -> tuple[BagJobDefinition, list[str]]:
    """Returns a job of a component with the id of its executable, and all mistakes in it."""
    mistakes = find_mistakes(job, place)
    if not component.ros.enabled:
        mistakes.append(
            f"{place}: the component {component.name} has no ROS; write `ros: {{isROS: true}}` in"
            " the manifest of its package"
        )
    executable = component.executable(job.executable) if job.executable else None
    if job.executable and executable is None:
        names = ", ".join(e.name for e in component.executables)
        mistakes.append(
            f"{place}.executable: {component.name} has no executable {job.executable[:80]!r}; its"
            f" executables: {names}"
        )
    found = executable or component.executables[0]
    return msgspec.structs.replace(job, executable=found.id), mistakes


def bag_jobs(
    component: Component, given: ComponentRequest, place: str, mistakes: list[str]
) -> tuple[BagJobDefinition, ...]:
    """Returns the jobs that start with a component: those of the request, or of the package.

    Adds what is wrong with them to `mistakes`.
    """
    place = f"{place}.rosBagJobDefs"
    definitions: list[tuple[str, BagJobDefinition]] = []
    if given.bag_jobs is not None:
        definitions = [(f"{place}[{i}]", job) for i, job in enumerate(given.bag_jobs)]
    else:
        for number, value in enumerate(component.rosbag_jobs):
            read, wrong = read_definition(value, f"{place}[{number}]")
            if read is None or wrong:
                mistakes += wrong
            else:
                definitions.append((f"{place}[{number}]", read))
    found: dict[str, BagJobDefinition] = {}
    for where, definition in definitions:
        job, wrong = bag_job(component, definition, where)
        mistakes += wrong
        if job.name in found:
            mistakes.append(f"{where}.name: {job.name[:80]!r} is the name of two jobs; change one")
        found[job.name] = job
    if len(found) > MAX_BAG_JOBS:
        mistakes.append(f"{place}: there are {len(found)} jobs; give at most {MAX_BAG_JOBS}")
    return tuple(found.values())
