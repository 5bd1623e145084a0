"""`claraedge start job`."""

from __future__ import annotations

import click

from claraedge.cli.options import Nouns, Options, pairs, remote
from claraedge.cli.output import lines


@click.group(cls=Nouns)
def start() -> None:
    """Start a job."""


@start.command("job")
@click.option("-j", "--job", required=True, help="Id of the job.")
@click.option("-v", "--variable", multiple=True, metavar="NAME=VALUE", help="Can be repeated.")
@remote
def start_job(options: Options, job: str, variable: tuple[str, ...]) -> None:
    """Queue a job. Starting it again changes nothing."""
    from claraedge.client import jobs

    variables = pairs(variable, "--variable")
    with options.connect() as connection:
        job_id = jobs.resolve(connection, job)
        state, status = jobs.start(connection, job_id, variables)
    if options.json:
        options.print_json({"job_id": job_id, "state": state, "status": status})
    else:
        click.echo(lines([("JOB_ID", job_id), ("STATE", state), ("STATUS", status)]))
