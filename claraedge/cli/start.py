"""`claraedge start job`: queues a job."""

from __future__ import annotations

import click

from claraedge.cli.options import Nouns, Options, pairs, remote, variables
from claraedge.cli.output import lines
from claraedge.cli.subject import JOB, subject


@click.group(cls=Nouns)
def start() -> None:
    """Start a job."""


@start.command("job")
@subject("job", JOB)
@variables
@remote
def start_job(options: Options, job: str, variable: tuple[str, ...]) -> None:
    """Queue a job. Starting it again changes nothing.

    Example: claraedge start job 3f2a --variable SITE=ward
    """
    from claraedge.client import jobs

    given = pairs(variable, "--variable")
    with options.connect() as connection:
        job_id = jobs.resolve(connection, job)
        state, status = jobs.start(connection, job_id, given)
    if options.json:
        options.print_json({"job_id": job_id, "state": state, "status": status})
    else:
        click.echo(lines([("JOB_ID", job_id), ("STATE", state), ("STATUS", status)]))
