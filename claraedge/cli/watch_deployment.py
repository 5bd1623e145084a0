"""Follows a deployment: prints a line for each change until it has settled."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Options
from claraedge.cli.output import clean
from claraedge.errors import DeploymentFailedError, UnavailableError

if TYPE_CHECKING:
    from claraedge.client import Connection
    from claraedge.client.packages.values import DeploymentInfo

#: Seconds between two calls that ask for its state.
_TICK = 0.5
#: Seconds for which a daemon may be gone: if it is restarted, the deployment continues.
_PATIENCE = 60.0
#: Phases that a deployment does not leave by itself.
_OVER = ("STOPPED", "FAILED_TO_START")


def is_over(deployment: DeploymentInfo) -> bool:
    """Returns whether it has stopped, or could not be started."""
    return deployment.phase in _OVER


def is_settled(deployment: DeploymentInfo) -> bool:
    """Returns whether it runs, or does not start any more."""
    if deployment.phase in (*_OVER, "FAILED_TO_UPDATE"):
        return True
    return deployment.phase == "SUCCEEDED" and deployment.status in ("RUNNING", "STOPPED", "ERROR")


def refuse_failed(deployment: DeploymentInfo) -> None:
    """Raises DeploymentFailedError, with the reasons, if a settled deployment does not run."""
    if deployment.phase == "SUCCEEDED" and deployment.status != "ERROR":
        return
    reasons = [f"{fault.code}: {fault.message}" for fault in deployment.errors] or [
        f"the executable {each.name}: {each.reason}" for each in deployment.executables
        if each.reason
    ]  # fmt: skip
    raise DeploymentFailedError(
        f"the deployment {deployment.name} ({deployment.id}) does not run: its phase is"
        f" {deployment.phase}; see `claraedge logs --deployment {deployment.id}`",
        *reasons,
    )


def watch_deployment(
    options: Options,
    connection: Connection,
    deployment_id: str,
    *,
    until: Callable[[DeploymentInfo], bool],
    show: bool,
) -> DeploymentInfo:
    """Waits until a condition is true; returns the deployment as it then is.

    With `show` it prints a line, or one JSON object, for each change. Raises UnavailableError if
    the daemon is gone for longer than `_PATIENCE`.
    """
    last: DeploymentInfo | None = None
    for now in _states(connection, deployment_id):
        if show:
            for subject, text in changes(last, now):
                _print(options, deployment_id, subject, text)
        last = now
        if until(now):
            break
    assert last is not None
    return last


def _states(connection: Connection, deployment_id: str) -> Iterator[DeploymentInfo]:
    from claraedge.client.packages import deployments

    seen = time.monotonic()
    reported = False
    while True:
        try:
            found = deployments.get(connection, deployment_id)
            seen, reported = time.monotonic(), False
            yield found
        except UnavailableError as error:
            if not reported:
                click.echo(f"claraedge: waiting for the daemon: {error}", err=True)
                reported = True
            if time.monotonic() - seen > _PATIENCE:
                raise
        time.sleep(_TICK)


def changes(before: DeploymentInfo | None, after: DeploymentInfo) -> list[tuple[str, str]]:
    """Returns what has changed: the executable, or an empty text for the deployment, and a text."""
    found = []
    if before is None or (before.phase, before.status) != (after.phase, after.status):
        found.append(("", f"{after.phase} {after.status}"))
    if after.waits_for and (before is None or before.waits_for != after.waits_for):
        found.append(("", f"waits: {after.waits_for}"))
    known = {each.id: each for each in before.executables} if before is not None else {}
    for each in after.executables:
        one = known.get(each.id)
        if one is not None and one.restarts < each.restarts:
            found.append((each.name, f"restarted ({each.restarts}): {each.reason or 'no reason'}"))
        if one is None or one.status != each.status:
            why = f": {each.reason}" if each.reason else ""
            found.append((each.name, f"{each.status}{why}"))
    shown = set() if before is None else {fault.message for fault in before.errors}
    found += [
        ("", f"{fault.code}: {fault.message}")
        for fault in after.errors
        if fault.message not in shown
    ]
    return found


def _print(options: Options, deployment_id: str, subject: str, text: str) -> None:
    now = datetime.now(UTC)
    if options.json:
        options.print_json(
            {
                "time": now,
                "deployment_id": deployment_id,
                "executable": subject or None,
                "change": text,
            }
        )
    else:
        stamp = now.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"{stamp} {clean(subject or 'deployment')} {clean(text)}")
    sys.stdout.flush()
