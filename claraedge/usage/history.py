"""What was reserved when, from the records of jobs, deployments, networks and bag jobs.

An attempt of an operator counts from its start to its end, a service from the first operator of a
job that uses it to the end of that job, a deployment from when it got its memory to its end. A ROS
master counts from the creation of its network; one of a network that was deleted is not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from claraedge.bags.recipes import MEMORY as BAG_MEMORY
from claraedge.decoding import decode_json
from claraedge.deployments.model import DeploymentPlan
from claraedge.deployments.planning import claim_of
from claraedge.jobs.model import OperatorStatus
from claraedge.pipelines.model import Operator, Pipeline, decode
from claraedge.pipelines.requests import OperatorRequests
from claraedge.services.reservations import CompanionReservation
from claraedge.store.database import Row, Transaction
from claraedge.usage.steps import Reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedAmounts:
    """How much is reserved on this device, and for what."""

    of_operator: Callable[[Operator], OperatorRequests]
    of_services: Callable[[Pipeline], Mapping[str, CompanionReservation]]
    """Returns key -> reservation of all services of a job of a pipeline."""
    unstated: int
    """Megabytes of an executable that states none, and of a ROS master."""
    unified: bool
    """Whether GPU memory is system memory."""


def reserved(
    tx: Transaction, amounts: ReservedAmounts, *, since: float, now: float, jobs: int
) -> tuple[list[Reserved], float]:
    """Returns what was reserved between two times, and from when on that is complete.

    Of the jobs that have stopped, at most the last `jobs` are evaluated.
    """
    found = [*_of_deployments(tx, amounts, since)]
    for row in tx.each("running_jobs"):
        found += _of_job(tx, row, amounts)
    stopped = tx.rows("lately_stopped_jobs", since=since, now=now, most=jobs + 1)
    if len(stopped) > jobs:
        since = stopped.pop()["stopped"]
    for row in stopped:
        found += _of_job(tx, row, amounts)
    return found, since


def _of_job(tx: Transaction, job: Row, amounts: ReservedAmounts) -> Iterator[Reserved]:
    snapshot = tx.row("snapshot_of_job", job=job["id"])
    if job["started"] is None or snapshot is None or snapshot["snapshot"] is None:
        return
    pipeline = decode(snapshot["snapshot"])
    requests = {each.name: amounts.of_operator(each) for each in pipeline.operators}
    for operator, begin, end in _attempts(tx, job):
        if operator in requests:
            yield Reserved(
                begin=begin,
                end=end,
                memory=requests[operator].system_memory(unified=amounts.unified),
                gpus=requests[operator].devices,
            )
    for key, service in amounts.of_services(pipeline).items():
        yield Reserved(
            begin=job["started"],
            end=job["stopped"],
            memory=service.amount,
            gpus=service.gpus,
            shared=key,
        )


def _attempts(tx: Transaction, job: Row) -> Iterator[tuple[str, float, float | None]]:
    """Yields operator, begin and end of each attempt; the end is None while it runs."""
    begun: dict[str, float] = {}
    for row in tx.each("operator_log", job=job["id"]):
        operator, begin = row["operator"], begun.pop(row["operator"], None)
        if begin is not None:
            yield operator, begin, row["time"]
        if row["number"] == OperatorStatus.RUNNING:
            begun[operator] = row["time"]
    for operator, begin in begun.items():
        yield operator, begin, job["stopped"]


def _of_deployments(tx: Transaction, amounts: ReservedAmounts, since: float) -> Iterator[Reserved]:
    for row in tx.rows("reserving_deployments", since=since):
        plan = decode_json(row["plan"], DeploymentPlan)
        memory, gpus = claim_of(plan, amounts.unstated)
        yield Reserved(begin=row["reserved"], end=row["stopped"], memory=memory, gpus=gpus)
    for row in tx.rows("reserving_networks"):
        yield Reserved(begin=row["created"], end=None, memory=amounts.unstated)
    for row in tx.rows("reserving_bag_jobs", since=since):
        yield Reserved(begin=row["created"], end=row["ended"], memory=BAG_MEMORY)
