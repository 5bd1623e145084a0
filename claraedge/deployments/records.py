"""Reads and writes the records of deployments in a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from claraedge.decoding import decode_json
from claraedge.deployments.model import (
    Deployment,
    DeploymentPhase,
    DeploymentPlan,
    DeploymentStatus,
    ExecutableRecord,
    Fault,
)
from claraedge.deployments.networks import records as network_records
from claraedge.errors import (
    DeploymentExistsError,
    DeploymentInUseError,
    DeploymentNotFoundError,
    DeploymentNotReadyError,
)
from claraedge.packages.ids import is_id, may_begin_id
from claraedge.routes import records as route_records
from claraedge.store.database import Row, Transaction

#: Number of deployments that have ended whose records are kept.
KEPT = 200


def add(tx: Transaction, deployment: Deployment, *, singleton: bool) -> None:
    """Adds a deployment in the phase IN_PROGRESS.

    `singleton`: whether its plan allows only one. Raises DeploymentExistsError if the name is used
    or the plan has a deployment already, DeploymentNotFoundError for a dependency,
    DeploymentNotReadyError if a dependency does not run, RouteInUseError if one of its routes leads
    elsewhere, and NetworkNotFoundError and NetworkLimitError for a network.
    """
    same = tx.row("live_deployment_of_name", name=deployment.name)
    if same is not None:
        raise DeploymentExistsError(
            f"the name {deployment.name} is used by the deployment {same['id']}; use that one, end"
            f" it (`claraedge undeploy {same['id']}`), or give another name"
        )
    other = tx.row("live_deployment_of_plan", plan_id=deployment.plan_id) if singleton else None
    if other is not None:
        raise DeploymentExistsError(
            f"the plan {deployment.plan_name} of {deployment.package_name} allows one deployment,"
            f" and {other['name']} ({other['id']}) is one; end it first"
            f" (`claraedge undeploy {other['id']}`)"
        )
    for needed in deployment.dependencies:
        found = get(tx, needed)
        if not found.wanted or not found.phase.started:
            raise DeploymentNotReadyError(
                f"the deployment {found.name} ({needed}), which {deployment.name} depends on, is in"
                f" the phase {found.phase.value}; wait until it is Succeeded"
                f" (`claraedge describe deployment {needed}`)"
            )
    tx.run(
        "add_deployment",
        id=deployment.id,
        name=deployment.name,
        package=deployment.package,
        package_name=deployment.package_name,
        package_version=deployment.package_version,
        plan_id=deployment.plan_id,
        plan_name=deployment.plan_name,
        plan=_json(deployment.plan),
        phase=deployment.phase.value,
        labels=_json(deployment.labels),
        created=deployment.created,
    )
    for position, needed in enumerate(deployment.dependencies):
        tx.run(
            "add_deployment_dependency", deployment=deployment.id, position=position, needs=needed
        )
    components = [component.id for component in deployment.plan.components]
    network_records.join(tx, deployment.id, components, deployment.networks)
    for component in deployment.plan.components:
        route_records.use(tx, deployment.id, component.id, component.name, component.routes)
    for _, executable in deployment.plan.executables():
        tx.run("add_deployed_executable", deployment=deployment.id, executable=executable.id)


def get(tx: Transaction, deployment: str) -> Deployment:
    """Returns a deployment by its id. Raises DeploymentNotFoundError."""
    row = tx.row("deployment", id=deployment)
    if row is None:
        raise DeploymentNotFoundError(
            f"no deployment has the id {deployment}; `claraedge list deployments` shows all"
        )
    return _deployment(tx, row)


def find(tx: Transaction, text: str) -> Deployment:
    """Returns a deployment by its id, a unique left part of it, or its name (the latest one).

    Raises DeploymentNotFoundError.
    """
    if is_id(text, "dep"):
        return get(tx, text)
    named = tx.row("latest_deployment_of_name", name=text)
    if named is not None:
        return get(tx, named["id"])
    found: list[Row] = []
    if may_begin_id(text, "dep"):
        found = tx.rows("deployments_by_prefix", prefix=text, end=text + "~")
    if len(found) == 1:
        return get(tx, found[0]["id"])
    many = "several deployments have ids that begin with" if found else "no deployment is called"
    raise DeploymentNotFoundError(f"{many} {text[:80]!r}; `claraedge list deployments` shows all")


def listed(
    tx: Transaction,
    *,
    package: str = "",
    phases: Iterable[DeploymentPhase] = (),
    labels: Mapping[str, str] | None = None,
) -> Sequence[Deployment]:
    """Returns the deployments that match, in the order of their creation. Empty: all."""
    wanted = set(phases)
    found = []
    for row in tx.rows("deployments"):
        if (package and row["package"] != package) or (wanted and row["phase"] not in wanted):
            continue
        deployment = _deployment(tx, row)
        if (labels or {}).items() <= deployment.labels.items():
            found.append(deployment)
    return found


def live(tx: Transaction) -> Sequence[Deployment]:
    """Returns the deployments that have not ended, in the order of their creation."""
    return [_deployment(tx, row) for row in tx.rows("live_deployments")]


def live_of_package(tx: Transaction, package: str) -> str | None:
    """Returns name and id of a deployment of a package that has not ended; None: there is none."""
    row = tx.row("live_deployment_of_package", package=package)
    return None if row is None else f"{row['name']} ({row['id']})"


def undeploy(tx: Transaction, deployment: str, now: float) -> bool:
    """Records that a deployment is to end; returns False if it has ended.

    Raises DeploymentInUseError if others that have not ended depend on it.
    """
    users = tx.rows("live_dependents", needs=deployment)
    if users:
        shown = ", ".join(f"{row['name']} ({row['id']})" for row in users)
        raise DeploymentInUseError(
            f"the deployment {deployment} is used by {shown}; end that first"
            f" (`claraedge undeploy {users[0]['id']}`)"
        )
    phase = DeploymentPhase.PARTIALLY_DEPROVISIONED
    if tx.run("set_deployment_unwanted", id=deployment, phase=phase.value, now=now):
        return True
    tx.run(
        "set_failed_deployment_stopped",
        id=deployment,
        phase=DeploymentPhase.STOPPED.value,
        failed=DeploymentPhase.FAILED_TO_START.value,
        now=now,
    )
    return False


def set_phase(
    tx: Transaction,
    deployment: str,
    phase: DeploymentPhase,
    now: float,
    faults: Sequence[Fault] = (),
) -> None:
    """Records the phase of a deployment; one that ends it is its last."""
    tx.run(
        "set_deployment_phase",
        id=deployment,
        phase=phase.value,
        faults=_json(faults),
        now=now,
        stopped=now if phase.ended else None,
    )


def set_pending(tx: Transaction, deployment: str, plan: DeploymentPlan, now: float) -> None:
    """Records the plan that an update is to change a deployment to."""
    phase = DeploymentPhase.PROVISIONING.value
    tx.run("set_pending_plan", id=deployment, pending=_json(plan), phase=phase, now=now)


def set_plan(
    tx: Transaction,
    deployment: str,
    plan: DeploymentPlan,
    phase: DeploymentPhase,
    now: float,
    faults: Sequence[Fault] = (),
) -> None:
    """Records the plan of a deployment after an update, which has succeeded or failed."""
    tx.run(
        "set_plan",
        id=deployment,
        plan=_json(plan),
        phase=phase.value,
        faults=_json(faults),
        risen=int(phase is DeploymentPhase.SUCCEEDED),
        now=now,
    )


def set_image(tx: Transaction, deployment: str, executable: str, image: str) -> None:
    """Records the image (id) of an executable."""
    tx.run("set_executable_image", deployment=deployment, executable=executable, image=image)


def set_reserved(tx: Transaction, deployment: str, now: float) -> None:
    """Records that a deployment has its memory and GPUs, if that was not recorded before."""
    tx.run("set_deployment_reserved", id=deployment, now=now)


def set_gpus(tx: Transaction, deployment: str, executable: str, gpus: Sequence[str]) -> None:
    """Records the GPUs (CDI names) of an executable."""
    names = ",".join(gpus)
    tx.run("set_executable_gpus", deployment=deployment, executable=executable, gpus=names)


def set_up(tx: Transaction, deployment: str, executable: str) -> None:
    """Records that an executable was up."""
    tx.run("set_executable_up", deployment=deployment, executable=executable)


def set_restarted(tx: Transaction, deployment: str, executable: str, reason: str) -> None:
    """Records that an executable is started again, and why."""
    tx.run("set_executable_restarted", deployment=deployment, executable=executable, reason=reason)


def set_over(
    tx: Transaction, deployment: str, executable: str, over: DeploymentStatus | None, reason: str
) -> None:
    """Records that an executable is not started again, and why; None: that it is, after all."""
    tx.run(
        "set_executable_over",
        deployment=deployment,
        executable=executable,
        over=None if over is None else over.value,
        reason=reason,
    )


def drop_old(tx: Transaction) -> Sequence[str]:
    """Removes the records of the oldest deployments that have ended; returns their ids."""
    old = [row["id"] for row in tx.rows("old_deployments", keep=KEPT)]
    for deployment in old:
        tx.run("drop_deployment", id=deployment)
    return old


def _deployment(tx: Transaction, row: Row) -> Deployment:
    id_ = row["id"]
    pending = row["pending"]
    return Deployment(
        id=id_,
        name=row["name"],
        package=row["package"],
        package_name=row["package_name"],
        package_version=row["package_version"],
        plan_id=row["plan_id"],
        plan_name=row["plan_name"],
        plan=decode_json(row["plan"], DeploymentPlan),
        update=None if pending is None else decode_json(pending, DeploymentPlan),
        wanted=bool(row["wanted"]),
        phase=DeploymentPhase(row["phase"]),
        faults=tuple(decode_json(row["faults"], list[Fault])),
        labels=decode_json(row["labels"], dict[str, str]),
        dependencies=tuple(r["needs"] for r in tx.rows("deployment_needs", deployment=id_)),
        used_by=tuple(r["id"] for r in tx.rows("live_dependents", needs=id_)),
        networks=tuple(dict.fromkeys(m.network for m in network_records.memberships(tx, id_))),
        generation=row["generation"],
        created=row["created"],
        updated=row["updated"],
        stopped=row["stopped"],
        executables={
            r["executable"]: ExecutableRecord(
                id=r["executable"],
                image=r["image"],
                gpus=tuple(gpu for gpu in r["gpus"].split(",") if gpu),
                was_up=bool(r["was_up"]),
                restarts=r["restarts"],
                reason=r["reason"],
                over=None if r["over"] is None else DeploymentStatus(r["over"]),
            )
            for r in tx.rows("executables_of_deployment", deployment=id_)
        },
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
