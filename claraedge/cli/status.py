"""`claraedge status` and `claraedge version`: show the state and the version of a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from claraedge import __version__
from claraedge.cli.options import Options, remote
from claraedge.cli.output import lines, local
from claraedge.errors import UnavailableError
from claraedge.texts import size

if TYPE_CHECKING:
    from claraedge.client.values import DiskInfo, RetentionInfo, Status


@click.command()
@remote
def status(options: Options) -> None:
    """Show the state of the daemon, and where its folders are."""
    from claraedge.client import appliance

    with options.connect() as connection:
        found = appliance.status(connection)
    if options.json:
        options.print_json(found)
        return
    shown = [
        ("VERSION", found.version),
        ("INSTANCE", found.instance),
        ("STARTED", local(found.started)),
        ("STATE", found.state_dir),
        ("INBOX", found.inbox_dir),
        ("OUTBOX", found.outbox_dir),
        ("FAILED", found.failed_dir),
        ("ORIGINALS", found.originals_dir),
        ("PIPELINES", found.pipelines_dir),
        ("IMAGES", found.images_dir),
        ("JOBS", f"{found.jobs_pending} pending, {found.jobs_running} running"),
        ("ITEMS", f"{found.items_parked} parked, {found.items_failed} failed"),
        ("KEPT", _kept(found)),
        ("PODMAN", found.podman_version or "does not answer"),
        ("GPUS", str(found.gpus)),
        *(("DISK", _disk(disk)) for disk in found.disks),
        *([("REMOVED", _removed(found.removed))] if found.removed.last else []),
        *(("WARNING", warning) for warning in found.warnings),
    ]
    click.echo(lines(shown))


def _kept(found: Status) -> str:
    return (
        f"{found.outbox_results} results ({size(found.outbox_bytes)}),"
        f" {found.failed_results} failures ({size(found.failed_bytes)}),"
        f" {found.originals} originals ({size(found.originals_bytes)})"
    )


def _disk(disk: DiskInfo) -> str:
    limit = f"at least {size(disk.soft_limit)}"
    return f"{size(disk.free)} of {size(disk.total)} free ({limit}): {disk.name}"


def _removed(removed: RetentionInfo) -> str:
    return (
        f"{removed.payloads} payloads, logs of {removed.logs} jobs, {removed.jobs} jobs"
        f" ({size(removed.size)}) since the start; last at {local(removed.last)}"
    )


@click.command()
@remote
def version(options: Options) -> None:
    """Show the version of this command, and of the platform that answers, if one does."""
    from claraedge.client import appliance

    platform: str | None = None
    reason = ""
    with options.connect() as connection:
        try:
            platform = appliance.platform_version(connection)
        except UnavailableError as error:
            reason = str(error)
    if options.json:
        options.print_json({"claraedge": __version__, "platform": platform})
        return
    click.echo(lines([("claraedge", __version__), ("platform", platform or f"none: {reason}")]))
