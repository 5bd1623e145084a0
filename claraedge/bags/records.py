"""Reads and writes the records of bag jobs and bags in a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from claraedge.bags.model import Bag, BagJob, BagJobStatus, BagStatus
from claraedge.decoding import decode_json
from claraedge.errors import BagJobExistsError, BagJobNotFoundError, BagNotFoundError
from claraedge.packages.bag_jobs import BagJobDefinition
from claraedge.packages.ids import IdKind, is_id, may_begin_id
from claraedge.store.database import Row, Transaction

#: Number of jobs that have ended and have no bags whose records are kept.
KEPT = 200


def add(tx: Transaction, job: BagJob) -> None:
    """Adds a job. Raises BagJobExistsError if one of its component has this name."""
    same = tx.row(
        "live_bag_job_of_name", deployment=job.deployment, component=job.component, name=job.name
    )
    if same is not None:
        raise BagJobExistsError(
            f"the name {job.name} is used by the bag job {same['id']} of {job.component_name}; use"
            f" that one, stop it (`claraedge cancel bag-job {same['id']}`), or give another name"
        )
    tx.run(
        "add_bag_job",
        id=job.id,
        name=job.name,
        deployment=job.deployment,
        deployment_name=job.deployment_name,
        package=job.package,
        component=job.component,
        component_name=job.component_name,
        instance=job.instance,
        definition=_json(job.definition),
        created=job.created,
    )


def get(tx: Transaction, job: str) -> BagJob:
    """Returns a job by its id. Raises BagJobNotFoundError."""
    row = tx.row("bag_job", id=job)
    if row is None:
        raise BagJobNotFoundError(
            f"no bag job has the id {job[:80]}; `claraedge list bag-jobs` shows all"
        )
    return _job(row)


def exists(tx: Transaction, job: str) -> bool:
    """Whether a job has this id."""
    return tx.row("bag_job", id=job) is not None


def find(tx: Transaction, text: str) -> BagJob:
    """Returns a job by its id, or a unique left part of it. Raises BagJobNotFoundError."""
    if is_id(text, "bagjob"):
        return get(tx, text)
    found = _by_prefix(tx, "bag_jobs_by_prefix", "bagjob", text)
    if len(found) == 1:
        return get(tx, found[0]["id"])
    many = "several bag jobs have ids that begin with" if found else "no bag job has the id"
    raise BagJobNotFoundError(f"{many} {text[:80]!r}; `claraedge list bag-jobs` shows all")


def listed(tx: Transaction, deployment: str = "") -> Sequence[BagJob]:
    """Returns the jobs of a deployment, or all, in the order of their creation."""
    if deployment:
        return [_job(row) for row in tx.rows("bag_jobs_of_deployment", deployment=deployment)]
    return [_job(row) for row in tx.rows("bag_jobs")]


def live(tx: Transaction) -> Sequence[BagJob]:
    """Returns the jobs that have not ended, in the order of their creation."""
    return [_job(row) for row in tx.rows("live_bag_jobs")]


def set_unwanted(tx: Transaction, job: str) -> None:
    """Records that a job is to stop."""
    tx.run("set_bag_job_unwanted", id=job)


def set_up(tx: Transaction, job: str) -> None:
    """Records that a job was up."""
    tx.run("set_bag_job_up", id=job)


def set_over(tx: Transaction, job: str, over: BagJobStatus, reason: str, now: float) -> None:
    """Records that a job has ended, and why."""
    tx.run("set_bag_job_over", id=job, over=over.value, reason=reason, now=now)


def set_payload(tx: Transaction, job: str, payload: str) -> None:
    """Records the payload of a job's bags; empty: it has none."""
    tx.run("set_bag_job_payload", id=job, payload=payload)


def set_definition(tx: Transaction, job: str, definition: BagJobDefinition) -> None:
    """Records the definition of a job."""
    tx.run("set_bag_job_definition", id=job, definition=_json(definition))


def old(tx: Transaction) -> Sequence[str]:
    """Returns the ids of the oldest jobs that have ended and have no bags."""
    return [row["id"] for row in tx.rows("old_bag_jobs", keep=KEPT)]


def drop(tx: Transaction, jobs: Iterable[str]) -> None:
    """Removes the records of jobs that have ended."""
    for job in jobs:
        tx.run("drop_bag_job", id=job)


# --- bags --------------------------------------------------------------------------------------


def add_bag(tx: Transaction, bag: Bag) -> None:
    """Adds a bag that is not stored yet; nothing changes where it exists."""
    tx.run(
        "add_bag",
        id=bag.id,
        job=bag.job,
        name=bag.name,
        status=bag.status.value,
        size=bag.size,
        created=bag.created,
    )


def get_bag(tx: Transaction, bag: str) -> Bag:
    """Returns a bag by its id. Raises BagNotFoundError."""
    row = tx.row("bag", id=bag)
    if row is None:
        raise BagNotFoundError(f"no bag has the id {bag[:80]}; `claraedge list bags` shows all")
    return _bag(row)


def find_bag(tx: Transaction, text: str) -> Bag:
    """Returns a bag by its id, or a unique left part of it. Raises BagNotFoundError."""
    if is_id(text, "bag"):
        return get_bag(tx, text)
    found = _by_prefix(tx, "bags_by_prefix", "bag", text)
    if len(found) == 1:
        return get_bag(tx, found[0]["id"])
    many = "several bags have ids that begin with" if found else "no bag has the id"
    raise BagNotFoundError(f"{many} {text[:80]!r}; `claraedge list bags` shows all")


def bags(tx: Transaction, job: str = "") -> Sequence[Bag]:
    """Returns the bags of a job, or all, in the order in which they were found."""
    if job:
        return [_bag(row) for row in tx.rows("bags_of_job", job=job)]
    return [_bag(row) for row in tx.rows("bags")]


def set_stored(tx: Transaction, bag: Bag) -> None:
    """Records a bag as it is stored in its payload."""
    tx.run(
        "set_bag_stored",
        id=bag.id,
        name=bag.name,
        payload=bag.payload,
        status=bag.status.value,
        reason=bag.reason,
        size=bag.size,
        started=bag.started,
        ended=bag.ended,
        messages=bag.messages,
    )


def set_reason(tx: Transaction, bag: str, reason: str) -> None:
    """Records what storing a bag waits for."""
    tx.run("set_bag_reason", id=bag, reason=reason)


def drop_bag(tx: Transaction, bag: str) -> None:
    """Removes the record of a bag."""
    tx.run("drop_bag", id=bag)


def _by_prefix(tx: Transaction, query: str, kind: IdKind, text: str) -> Sequence[Row]:
    return tx.rows(query, prefix=text, end=text + "~") if may_begin_id(text, kind) else []


def _job(row: Row) -> BagJob:
    return BagJob(
        id=row["id"],
        name=row["name"],
        deployment=row["deployment"],
        deployment_name=row["deployment_name"],
        package=row["package"],
        component=row["component"],
        component_name=row["component_name"],
        instance=row["instance"],
        definition=decode_json(row["definition"], BagJobDefinition),
        wanted=bool(row["wanted"]),
        was_up=bool(row["was_up"]),
        over=None if row["over"] is None else BagJobStatus(row["over"]),
        reason=row["reason"],
        payload=row["payload"],
        created=row["created"],
        ended=row["ended"],
    )


def _bag(row: Row) -> Bag:
    return Bag(
        id=row["id"],
        job=row["job"],
        name=row["name"],
        payload=row["payload"],
        status=BagStatus(row["status"]),
        reason=row["reason"],
        size=row["size"],
        started=row["started"],
        ended=row["ended"],
        messages=row["messages"],
        created=row["created"],
    )


def _json(value: BagJobDefinition) -> str:
    return msgspec.json.encode(value).decode()
