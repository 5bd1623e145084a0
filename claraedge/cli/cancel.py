"""`claraedge cancel job`: ends a job."""

from __future__ import annotations

import click

from claraedge.cli.options import Nouns, Options, remote
from claraedge.cli.output import lines


@click.group(cls=Nouns)
def cancel() -> None:
    """Cancel a job."""


@cancel.command("job")
@click.option("-j", "--job", required=True, help="Id of the job.")
@click.option("--reason", default="", help="For people; becomes a message of the job.")
@remote
def cancel_job(options: Options, job: str, reason: str) -> None:
    """End a pending or running job; prints the state that it then has."""
    from claraedge.client import jobs

    with options.connect() as connection:
        job_id = jobs.resolve(connection, job)
        state, status = jobs.cancel(connection, job_id, reason)
    if options.json:
        options.print_json({"job_id": job_id, "state": state, "status": status})
    else:
        click.echo(lines([("JOB_ID", job_id), ("STATE", state), ("STATUS", status)]))
