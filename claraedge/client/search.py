"""Calls of the Search service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from claraedge.client.connection import Connection
from claraedge.client.packages.plain import value_of
from claraedge.client.values import Value
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.claraedge.v1 import search_pb2 as pb
from claraedge.wire.claraedge.v1.search_pb2_grpc import SearchStub

#: The stages of jobs and the states of items, without the prefixes of the protos.
STAGES = tuple(name.removeprefix("JOB_STAGE_") for name, number in pb.JobStage.items() if number)
STATES = tuple(
    name.removeprefix("ITEM_STATE_") for name, number in appliance_pb2.ItemState.items() if number
)


class HitInfo(Value, frozen=True, kw_only=True):
    """A job or an item that a search found. Fields that do not apply are empty, or UNKNOWN."""

    kind: str
    id: str
    name: str
    pipeline_id: str
    pipeline_name: str
    stage: str
    state: str
    priority: str
    cancelling: bool
    created: datetime | None
    started: datetime | None
    stopped: datetime | None
    reason: str
    remedy: str
    job_id: str
    duplicate_of: str
    has_results: bool
    retryable: bool


class StageCountInfo(Value, frozen=True, kw_only=True):
    """How many jobs are in a stage."""

    stage: str
    count: int


class StateCountInfo(Value, frozen=True, kw_only=True):
    """How many items are in a state."""

    state: str
    count: int


class FindInfo(Value, frozen=True, kw_only=True):
    """A page of what a search found, the newest first, and how many jobs and items there are."""

    hits: tuple[HitInfo, ...]
    next_page: str
    previous_page: str
    stages: tuple[StageCountInfo, ...]
    states: tuple[StateCountInfo, ...]
    retryable: int


def find(
    connection: Connection,
    text: str,
    *,
    kinds: Sequence[str] = (),
    stages: Sequence[str] = (),
    states: Sequence[str] = (),
    pipeline: str = "",
    retryable: bool = False,
    limit: int = 0,
    page: str = "",
) -> FindInfo:
    """Returns a page of the jobs and items that match. See FindRequest.

    `kinds` are JOB and ITEM. Raises InvalidRequestError.
    """
    request = pb.FindRequest(
        text=text,
        kinds=[pb.HitKind.Value(f"HIT_KIND_{kind}") for kind in kinds],
        stages=[pb.JobStage.Value(f"JOB_STAGE_{stage}") for stage in stages],
        states=[appliance_pb2.ItemState.Value(f"ITEM_STATE_{state}") for state in states],
        pipeline=pipeline,
        retryable=retryable,
        limit=limit,
        page_token=page,
    )
    return value_of(connection.unary(SearchStub(connection.channel).Find, request), FindInfo)
