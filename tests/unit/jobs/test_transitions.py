"""The state machine of a job: by tables."""

from __future__ import annotations

from itertools import product

import pytest

from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.jobs.transitions import ready, verdict
from claraedge.pipelines.model import ContainerDefinition, Input, Operator, Output, Pipeline

P, R, C, F = OperatorStatus


def operator(name: str, *sources: str) -> Operator:
    return Operator(
        name=name,
        container=ContainerDefinition(image="i"),
        inputs=tuple(Input(path=f"/{s}", source=s) for s in sources) or (Input(path="/in"),),
        outputs=(Output(path="/out"),),
    )


#: a -> b, a -> c, (b, c) -> d
DIAMOND = Pipeline(
    api_version="0.4.0",
    name="diamond",
    operators=(operator("a"), operator("b", "a"), operator("c", "a"), operator("d", "b", "c")),
)


@pytest.mark.parametrize(
    ("statuses", "start"),
    [
        ((P, P, P, P), ("a",)),
        ((R, P, P, P), ()),
        ((C, P, P, P), ("b", "c")),
        ((C, R, P, P), ("c",)),
        ((C, C, P, P), ("c",)),
        ((C, C, R, P), ()),
        ((C, C, C, P), ("d",)),
        ((C, C, F, P), ()),
        ((C, C, C, C), ()),
        ((F, P, P, P), ()),
    ],
)
def test_what_may_start(statuses: tuple[OperatorStatus, ...], start: tuple[str, ...]) -> None:
    assert ready(DIAMOND, dict(zip("abcd", statuses, strict=True))) == start


@pytest.mark.parametrize(
    ("statuses", "ending", "end"),
    [
        ((P, P), None, None),
        ((R, P), JobStatus.FAULTED, None),
        ((C, R), None, None),
        ((C, P), None, None),
        ((C, C), None, JobStatus.HEALTHY),
        # The truth goes before the wish: all completed before the cancel took effect.
        ((C, C), JobStatus.CANCELED, JobStatus.HEALTHY),
        ((C, P), JobStatus.CANCELED, JobStatus.CANCELED),
        ((P, P), JobStatus.CANCELED, JobStatus.CANCELED),
        ((C, F), JobStatus.CANCELED, JobStatus.CANCELED),
        ((C, F), JobStatus.FAULTED, JobStatus.FAULTED),
        ((F, P), JobStatus.FAULTED, JobStatus.FAULTED),
        ((C, F), JobStatus.TERMINATED, JobStatus.TERMINATED),
        ((C, F), JobStatus.EVICTED, JobStatus.EVICTED),
    ],
)
def test_how_a_job_ends(
    statuses: tuple[OperatorStatus, ...], ending: JobStatus | None, end: JobStatus | None
) -> None:
    assert verdict(dict(zip("ab", statuses, strict=True)), ending) is end


def test_a_job_never_ends_while_an_operator_runs_and_always_ends_once_decided() -> None:
    for statuses in product(OperatorStatus, repeat=3):
        named = dict(zip("abc", statuses, strict=True))
        for ending in (None, *JobStatus):
            end = verdict(named, ending)
            if R in statuses:
                assert end is None
            elif ending is not None:
                assert end is not None
            if end is JobStatus.HEALTHY and ending is not JobStatus.HEALTHY:
                assert set(statuses) == {C}
