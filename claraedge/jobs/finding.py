"""Finds jobs by words, the newest first, and counts them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from claraedge import metadata
from claraedge.jobs.model import JobStage, JobStatus, Priority
from claraedge.searching.page import Key, SearchPage
from claraedge.store.database import Row, Transaction

_OPEN = {
    "unstarted": JobStage.UNSTARTED,
    "queued": JobStage.WAITING,
    "running": JobStage.RUNNING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundJob:
    """What a search shows of a job. Times are Unix seconds."""

    id: str
    name: str
    pipeline: str
    pipeline_name: str
    stage: JobStage
    priority: Priority
    cancelling: bool
    created: float
    started: float | None
    stopped: float | None
    has_results: bool

    @property
    def key(self) -> Key:
        """Its place among all results."""
        return Key(self.created, self.id)


def find(tx: Transaction, page: SearchPage, stages: Collection[JobStage]) -> list[FoundJob]:
    """Returns the matching jobs of a page in its order; no stages: of any."""
    rows = _rows(tx, page, frozenset(stages or JobStage))
    return list(islice((_found(row) for row in rows if _matches(tx, page, row)), page.limit))


def _rows(tx: Transaction, page: SearchPage, stages: Collection[JobStage]) -> Iterable[Row]:
    if not page.ids:
        query = "find_jobs_after" if page.newer else "find_jobs_before"
        return tx.each(query, stages=sum(1 << stage for stage in stages), **page.parameters)
    rows = tx.rows("jobs_of_ids", ids=page.encoded_ids)
    rows.sort(key=_key, reverse=not page.newer)
    return (
        row
        for row in rows
        if row["stage"] in stages and page.selects(_key(row), row["pipeline"], row["pipeline_name"])
    )


def _key(row: Row) -> Key:
    return Key(row["created"], row["id"])


def stage_counts(tx: Transaction) -> Mapping[JobStage, int]:
    """Returns how many jobs are in each stage."""
    counts = dict.fromkeys(JobStage, 0)
    total = tx.row("all_jobs_count")
    assert total is not None
    for row in tx.each("open_job_counts"):
        counts[_OPEN[row["state"]]] = row["count"]
    for row in tx.each("ended_job_counts"):
        counts[stage_of(JobStatus(row["status"]))] = row["count"]
    counts[JobStage.COMPLETED] = total["count"] - sum(counts.values())
    return counts


def stage_of(status: JobStatus) -> JobStage:
    """Returns the stage of a stopped job."""
    return JobStage(status + JobStage.COMPLETED - JobStatus.HEALTHY)


def _matches(tx: Transaction, page: SearchPage, row: Row) -> bool:
    if not page.words.folded:
        return True
    values = metadata.read(tx, row["id"]).values()
    return page.words.match(row["id"], (row["name"], row["pipeline_name"], *values))


def _found(row: Row) -> FoundJob:
    return FoundJob(
        id=row["id"],
        name=row["name"],
        pipeline=row["pipeline"],
        pipeline_name=row["pipeline_name"],
        stage=JobStage(row["stage"]),
        priority=Priority(row["priority"]),
        cancelling=bool(row["cancelling"]),
        created=row["created"],
        started=row["started"],
        stopped=row["stopped"],
        has_results=bool(row["has_results"]),
    )
