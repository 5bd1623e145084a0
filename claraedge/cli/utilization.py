"""`claraedge utilization` and `claraedge stop`: show the use of GPUs, and end services."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Options, remote
from claraedge.cli.output import lines, local, table

if TYPE_CHECKING:
    from claraedge.client.clara import GpuUtilization

_HEADINGS = ("TIME", "GPU", "PCI", "COMPUTE", "MEMORY", "USED_MB", "FREE_MB", "OPERATORS")


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Continue until Ctrl-C.")
@remote
def utilization(options: Options, *, watch: bool) -> None:
    """Show the use of the GPUs, and by which operators; `-` is unknown."""
    from claraedge.client import clara

    with options.connect() as connection:
        for gpus in clara.utilization(connection, watch=watch):
            if options.json:
                options.print_json(gpus)
            elif gpus:
                click.echo(table(_HEADINGS, [_row(index, gpu) for index, gpu in enumerate(gpus)]))
            else:
                click.echo("no GPU")
            sys.stdout.flush()


@click.command()
@remote
def stop(options: Options) -> None:
    """End the services of pipelines and the inference server.

    Jobs and the daemon continue.
    """
    from claraedge.client import clara

    with options.connect() as connection:
        clara.stop(connection)
    if options.json:
        options.print_json({"services": "stopped"})
    else:
        click.echo(lines([("SERVICES", "stopped")]))


def _row(index: int, gpu: GpuUtilization) -> tuple[str, ...]:
    users = gpu.users
    return (
        local(gpu.time),
        str(index),
        gpu.pci or "-",
        _percent(gpu.compute_utilization),
        _percent(gpu.memory_utilization),
        _count(gpu.memory_used),
        _count(gpu.memory_free),
        "-"
        if users is None
        else " ".join(f"{u.name}@{u.job_id[:12]}" if u.job_id else u.name for u in users),
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
