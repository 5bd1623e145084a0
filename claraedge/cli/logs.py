"""`claraedge logs`: prints the output of an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Options, remote
from claraedge.cli.subject import JOB, subject

if TYPE_CHECKING:
    from claraedge.client.values import JobDetails


@click.command()
@subject("job", JOB)
@click.option("-o", "--operator", help="Name of the operator; needed if the job has several.")
@remote
def logs(options: Options, job: str, operator: str | None) -> None:
    """Print what an operator of a job has printed so far.

    Example: claraedge logs 3f2a --operator report
    """
    from claraedge.client import jobs

    with options.connect() as connection:
        job_id = jobs.resolve(connection, job)
        operator = operator or _only_operator(jobs.status(connection, job_id))
        found = jobs.read_logs(connection, job_id, operator)
        if options.json:
            options.print_json({"job_id": job_id, "operator": operator, "logs": list(found)})
            return
        for line in found:
            click.echo(line, nl=not line.endswith("\n"))


def _only_operator(job: JobDetails) -> str:
    """Returns the operator of a job that has one. Raises click.UsageError for another job."""
    names = [operator.name for operator in job.operators]
    if len(names) == 1:
        return names[0]
    raise click.UsageError(
        f"name the operator with -o; those of the job are: {', '.join(names)}",
        click.get_current_context(),
    )
