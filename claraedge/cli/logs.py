"""`claraedge logs`: prints the output of an operator."""

from __future__ import annotations

import click

from claraedge.cli.options import Options, remote


@click.command()
@click.option("-j", "--job", required=True, help="Id of the job.")
@click.option("-o", "--operator", required=True, help="Name of the operator.")
@remote
def logs(options: Options, job: str, operator: str) -> None:
    """Print what an operator of a job has printed so far."""
    from claraedge.client import jobs

    with options.connect() as connection:
        job_id = jobs.resolve(connection, job)
        found = jobs.read_logs(connection, job_id, operator)
        if options.json:
            options.print_json({"job_id": job_id, "operator": operator, "logs": list(found)})
            return
        for line in found:
            click.echo(line, nl=not line.endswith("\n"))
