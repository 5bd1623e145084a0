"""`claraedge cancel`: ends jobs and bag jobs."""

from __future__ import annotations

import click

from claraedge.cli.options import Nouns, Options, remote
from claraedge.cli.output import lines
from claraedge.cli.subject import JOB, subject


@click.group(cls=Nouns)
def cancel() -> None:
    """Cancel jobs or bag jobs."""


@cancel.command("job")
@subject("ids", JOB, several=True)
@click.option("--reason", default="", help="For people; becomes a message of each job.")
@remote
def cancel_job(options: Options, ids: tuple[str, ...], reason: str) -> None:
    """End pending or running jobs; prints the state that each then has.

    All IDs are checked first: if one is wrong, no job is canceled. With --output json, each job is
    one line.

    Example: claraedge cancel job 3f2a 91bc --reason "wrong scan"
    """
    from claraedge.client import jobs

    with options.connect() as connection:
        for job_id in dict.fromkeys([jobs.resolve(connection, text) for text in ids]):
            state, status = jobs.cancel(connection, job_id, reason)
            if options.json:
                options.print_json({"job_id": job_id, "state": state, "status": status})
            else:
                click.echo(lines([("JOB_ID", job_id), ("STATE", state), ("STATUS", status)]))


@cancel.command("bag-job")
@click.argument("ids", metavar="BAG_JOB...", nargs=-1, required=True)
@remote
def cancel_bag_job(options: Options, ids: tuple[str, ...]) -> None:
    """End jobs that record ROS topics, and close their bags; prints the state that each then has.

    All are checked first: if one is wrong, no job is ended.

    Example: claraedge cancel bag-job bagjob-ab
    """
    from claraedge.client.packages import bags

    with options.connect() as connection:
        for id_ in dict.fromkeys([bags.get_job(connection, text).id for text in ids]):
            job = bags.stop(connection, id_)
            if options.json:
                options.print_json(job)
            else:
                click.echo(lines([("BAG_JOB_ID", job.id), ("STATUS", job.status)]))
