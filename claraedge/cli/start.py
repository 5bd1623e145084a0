"""`claraedge start`: queues a job, or starts a bag job."""

from __future__ import annotations

import click

from claraedge.cli.options import Nouns, Options, pairs, remote, variables
from claraedge.cli.output import lines
from claraedge.cli.subject import JOB, subject


@click.group(cls=Nouns)
def start() -> None:
    """Start a job or a bag job."""


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


@start.command("bag-job")
@click.argument("deployment", metavar="DEPLOYMENT")
@click.option("-n", "--name", required=True, help="Unique among the jobs of the component.")
@click.option("--component", default="", help="Id or name; needed if there are several.")
@click.option("--topic", "topics", multiple=True, help="A topic; repeat it. None: all topics.")
@remote
def start_bag_job(
    options: Options, deployment: str, name: str, component: str, topics: tuple[str, ...]
) -> None:
    """Record ROS topics of a deployment, until `claraedge cancel bag-job` or its end.

    Example: claraedge start bag-job robot -n drive --topic /camera/image
    """
    from claraedge.client.packages import bags

    with options.connect() as connection:
        job = bags.start(connection, deployment, component, name, topics)
    if options.json:
        options.print_json(job)
    else:
        click.echo(lines([("BAG_JOB_ID", job.id), ("STATUS", job.status)]))
