"""The metrics of a snapshot, as families of the Prometheus client library.

docs/monitoring.md lists them; its test compares both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from claraedge.metrics.figures import Snapshot
from claraedge.metrics.observations import CALL_BOUNDS, WORK_BOUNDS, Distribution, Labels


class Page(Collector):
    """All metrics of one snapshot, and those of this process."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        now = self._snapshot
        yield InfoMetricFamily(
            "claraedge",
            "The version of claraedge, and the id of this installation.",
            {"version": now.version, "instance_id": now.instance},
        )
        yield _gauge(
            "claraedge_source_up",
            "Whether a source of metrics answered (1) or was left out of this answer (0).",
            {(name,): int(up) for name, up in now.answered.items()},
            ("source",),
        )
        yield from _jobs(now)
        yield _gauge(
            "claraedge_deployments",
            "Deployments that have not ended, by status: running, pending (something starts, waits,"
            " or is started again), error (an executable has failed for good), stopped.",
            {(status,): count for status, count in now.deployments.items()},
            ("status",),
        )
        yield CounterMetricFamily(
            "claraedge_deployment_restarts",
            "Executables of deployments that ended by themselves, or failed their liveness probe,"
            " and were started again, since the start of the daemon.",
            now.deployment_restarts,
        )
        yield from _inbox(now)
        yield from _calls(now)
        yield from _gpus(now)
        yield from _disks(now)
        yield from ProcessCollector(registry=None).collect()


def _jobs(now: Snapshot) -> Iterator[Metric]:
    yield _gauge(
        "claraedge_jobs",
        "Jobs that have not stopped, by state: unstarted (created, not started by their user),"
        " queued, running.",
        {(state,): count for state, count in now.jobs.items()},
        ("state",),
    )
    yield CounterMetricFamily(
        "claraedge_jobs_queued",
        "Jobs that were started, since the start of the daemon.",
        now.queued,
    )
    yield _counter(
        "claraedge_jobs_stopped",
        "Jobs that have stopped, by status, since the start of the daemon.",
        now.stopped,
        ("status",),
    )
    yield _histogram(
        "claraedge_job_wait_seconds",
        "Time from the Start of a job to the start of its first operator.",
        now.waits,
        WORK_BOUNDS,
    )
    yield _counter(
        "claraedge_operator_attempts",
        "Attempts of operators that have ended, by result, since the start of the daemon.",
        now.attempts,
        ("result",),
    )
    yield _histogram(
        "claraedge_operator_run_seconds",
        "Time that an attempt of an operator ran, until its result was recorded.",
        now.attempt_seconds,
        WORK_BOUNDS,
        ("result",),
    )
    yield GaugeMetricFamily(
        "claraedge_engine_paused",
        "1 while an outage (Podman does not answer, or a disk is full) keeps operators from being"
        " started.",
        int(now.is_paused),
    )
    yield CounterMetricFamily(
        "claraedge_service_restarts",
        "Containers of services that ended by themselves and were started again, since the start"
        " of the daemon.",
        now.restarts,
    )


def _inbox(now: Snapshot) -> Iterator[Metric]:
    yield _gauge(
        "claraedge_inbox_items",
        "Items of the inbox, by state; failed: those whose folder is kept.",
        {(state,): count for state, count in now.items.items()},
        ("state",),
    )
    yield _gauge(
        "claraedge_deliveries",
        "Deliveries that are not done, by state: waiting (for the job), due, parked.",
        {(state,): now.deliveries.get(state, 0) for state in ("waiting", "due", "parked")}
        if now.answered["deliveries"]
        else {},
        ("state",),
    )
    yield _gauge(
        "claraedge_kept_folders",
        "Folders that are kept: results, failures, originals.",
        {(kind,): count for kind, (count, _) in now.kept.items()},
        ("kind",),
    )
    yield _gauge(
        "claraedge_kept_bytes",
        "Size of the folders that are kept.",
        {(kind,): size for kind, (_, size) in now.kept.items()},
        ("kind",),
    )


def _calls(now: Snapshot) -> Iterator[Metric]:
    yield _counter(
        "claraedge_calls",
        "gRPC calls that have ended, by status, also those that the HTTP front makes; for an error"
        " that a Clara service reports in its header, the status is that of the error.",
        now.calls,
        ("service", "method", "code"),
    )
    yield _histogram(
        "claraedge_call_seconds",
        "Time from the arrival of a gRPC call to its end.",
        now.call_seconds,
        CALL_BOUNDS,
        ("service", "method"),
    )


def _gpus(now: Snapshot) -> Iterator[Metric]:
    labels = ("gpu",)
    loads: dict[Labels, float] = {}
    used: dict[Labels, float] = {}
    total: dict[Labels, float] = {}
    names: dict[Labels, float] = {}
    for gpu in now.gpus:
        number = str(gpu.index)
        names[number, gpu.name or "", str(gpu.pci or "")] = 1
        if gpu.compute_utilization is not None:
            loads[number,] = gpu.compute_utilization
        if gpu.memory is not None:
            used[number,] = gpu.memory.used
            total[number,] = gpu.memory.used + gpu.memory.free
    yield _gauge("claraedge_gpu_info", "The GPUs.", names, ("gpu", "name", "pci"))
    yield _gauge(
        "claraedge_gpu_utilization_ratio",
        "Fraction of the time in which a GPU computed, 0 to 1.",
        loads,
        labels,
    )
    yield _gauge("claraedge_gpu_memory_used_bytes", "Used memory of a GPU.", used, labels)
    yield _gauge("claraedge_gpu_memory_bytes", "Memory of a GPU.", total, labels)


def _disks(now: Snapshot) -> Iterator[Metric]:
    for name, what, figures in (
        (
            "free_bytes",
            "Space that the daemon may still fill.",
            {d.area: d.free for d in now.disks},
        ),
        ("size_bytes", "Size of the disk.", {d.area: d.total for d in now.disks}),
        (
            "soft_limit_bytes",
            "Free space below which no new work begins.",
            {d.area: d.soft for d in now.disks},
        ),
        (
            "hard_limit_bytes",
            "Free space below which jobs are evicted.",
            {d.area: d.hard for d in now.disks},
        ),
        (
            "level",
            "0: there is room; 1: below the soft limit; 2: below the hard limit.",
            {d.area: int(d.level) for d in now.disks},
        ),
    ):
        values: dict[Labels, float] = {(area,): value for area, value in figures.items()}
        yield _gauge(f"claraedge_disk_{name}", what, values, ("area",))


def _gauge(
    name: str, what: str, values: Mapping[Labels, float], labels: Sequence[str]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(
    name: str, what: str, values: Mapping[Labels, int], labels: Sequence[str]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, what, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(
    name: str,
    what: str,
    values: Mapping[Labels, Distribution],
    bounds: Sequence[float],
    labels: Sequence[str] = (),
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, what, labels=labels)
    if not labels and not values:  # a metric without labels is there from the start
        values = {(): Distribution(counts=[0] * (len(bounds) + 1), total=0.0)}
    for key, found in values.items():
        buckets, below = [], 0
        for bound, count in zip((*bounds, float("inf")), found.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(below)))
        family.add_metric(key, buckets, found.total)
    return family
