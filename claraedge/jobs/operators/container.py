"""Specifies the container of one attempt: folders, environment, mounts and labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from claraedge.fs import files
from claraedge.jobs.model import Job
from claraedge.jobs.operators.values import SharedMemory, written
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines import fastio
from claraedge.pipelines.contract import command, environment
from claraedge.pipelines.model import Input, Operator, Pipeline
from claraedge.pipelines.tmpfs import Tmpfs
from claraedge.runner.protocol import (
    LABEL_ATTEMPT,
    LABEL_DEVICES,
    OUTSIDE,
    BindMount,
    ContainerSpec,
)
from claraedge.services.model import Lease

MEGABYTE = 1024 * 1024
PREFIX = "claraedge-"
"""Prefix of all container names of operators."""

_NAME = re.compile(PREFIX + r"([0-9a-f]{32})-([0-9]+)-[0-9]+")


def container_spec(
    tree: PayloadTree,
    values: SharedMemory,
    job: Job,
    pipeline: Pipeline,
    operator: Operator,
    attempts: Mapping[str, int],
    *,
    attempt: int,
    image: str,
    log: Path,
    labels: Mapping[str, str],
    devices: tuple[str, ...],
    memory: int | None,
    tmpfs: Tmpfs,
    service_lease: Lease,
) -> ContainerSpec:
    """Returns the specification of the container.

    `attempts`: upstream operator -> the attempt whose output is read. `memory`: the limit in
    megabytes. `service_lease`: the lease of the services and models of the job.
    """
    folder = tree.attempt(job.payload, operator.name, attempt)
    variables = environment(
        operator,
        job_id=job.id,
        job_name=job.name,
        triton=service_lease.triton,
        triton_ports=service_lease.triton_ports,
        connections=service_lease.connections(operator),
    )
    inputs = (
        BindMount(
            source=_source(tree, values, job, entry, attempts), target=entry.path, read_only=True
        )
        for entry in operator.inputs
    )
    outputs = (
        BindMount(
            source=folder / output.name if output.name else folder,
            target=output.path,
            read_only=False,
        )
        for output in operator.outputs
        if not output.in_memory
    )
    shared = (
        BindMount(
            source=values.attempt(job.id, operator.name, attempt),
            target=fastio.OUTPUTS,
            read_only=False,
        )
        for _ in written(operator)[:1]
    )
    given = {LABEL_DEVICES: ",".join(devices)} if devices else {}
    return ContainerSpec(
        name=f"{PREFIX}{job.id}-{pipeline.operators.index(operator)}-{attempt}",
        image=image,
        entrypoint=operator.container.entrypoint,
        command=command(operator, variables),
        working_dir=operator.container.working_dir,
        environment=variables,
        mounts=(*inputs, *outputs, *shared, *service_lease.mounts(operator)),
        labels={**labels, **given, LABEL_ATTEMPT: str(attempt)},
        log_path=log,
        memory=_bytes(memory),
        shared_memory=_bytes(tmpfs.shared_memory),
        scratch=_bytes(tmpfs.scratch),
        devices=devices,
        networks={OUTSIDE: ""} if operator.outside else service_lease.networks(operator),
        writable_root=operator.container.writable_root,
    )


def parse_name(name: str) -> tuple[str, int] | None:
    """Parses an operator's container name into (job, position of the operator), or None."""
    found = _NAME.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def make_output_folders(folder: Path, operator: Operator) -> list[Path]:
    """Creates the folders of an attempt: writable by any container user, below private parents.

    Returns the folders to sync so that their names are durable; their contents are synced when the
    operator ends.
    """
    unsynced = files.new_folders(folder)
    folder.chmod(0o755)
    for output in operator.outputs:
        if not output.in_memory:
            path = folder / output.name if output.name else folder
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
    return unsynced


def _source(
    tree: PayloadTree, values: SharedMemory, job: Job, entry: Input, attempts: Mapping[str, int]
) -> Path:
    if entry.source is None:
        return tree.input(job.payload)
    attempt = attempts[entry.source]
    if entry.in_memory:
        return values.attempt(job.id, entry.source, attempt) / str(entry.name)
    folder = tree.attempt(job.payload, entry.source, attempt)
    return folder / entry.name if entry.name else folder


def _bytes(megabytes: int | None) -> int | None:
    return megabytes * MEGABYTE if megabytes else None
