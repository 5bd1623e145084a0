"""`claraedge logs`: prints the output of an operator, or of an executable of a deployment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Options, remote
from claraedge.cli.subject import JOB, subject

if TYPE_CHECKING:
    from claraedge.client.values import JobDetails


@click.command()
@subject("job", JOB, needed=False)
@click.option("-o", "--operator", help="Name of the operator; needed if the job has several.")
@click.option(
    "-a",
    "--attempt",
    type=click.IntRange(1),
    help="Number of the attempt of the operator, or of the start of the executable, in place of the"
    " last one.",
)
@click.option("-d", "--deployment", help="Print the log of a deployment, in place of a job.")
@click.option(
    "-e", "--executable", help="Name of the executable; needed if the deployment has several."
)
@click.option("-f", "--follow", is_flag=True, help="Wait for more, until its end.")
@click.option(
    "-n", "--tail", type=click.IntRange(1), help="Only so many of the last lines, then new ones."
)
@remote
def logs(
    options: Options,
    job: str | None,
    operator: str | None,
    attempt: int | None,
    deployment: str | None,
    executable: str | None,
    follow: bool,
    tail: int | None,
) -> None:
    """Print what an operator of a job has printed so far, or an executable of a deployment.

    Without --attempt, --follow continues with later attempts of the operator, or later starts of
    the executable, of which the last four have logs.

    Example: claraedge logs 3f2a --operator report --follow

    Example: claraedge logs --deployment front --tail 20
    """
    context = click.get_current_context()
    if deployment is not None:
        if job is not None or operator is not None:
            raise click.UsageError(
                "--deployment has no job or operator: give an --executable", context
            )
        _print_deployment(
            options,
            deployment,
            executable or "",
            follow=follow,
            tail=tail or 0,
            attempt=attempt or 0,
        )
        return
    if job is None:
        raise click.UsageError(f"name the job: {context.command_path} {JOB.metavar}", context)
    if executable is not None:
        raise click.UsageError("--executable is for a --deployment", context)

    from claraedge.client import jobs

    with options.connect() as connection:
        job_id = jobs.resolve(connection, job)
        name = operator or _only_operator(jobs.status(connection, job_id))
        if attempt is None and not follow and tail is None:
            plain = jobs.read_logs(connection, job_id, name)
            found: Iterator[tuple[int, str]] = ((0, line) for line in plain)
        else:
            found = jobs.read_attempts(
                connection, job_id, name, attempt=attempt or 0, follow=follow, tail=tail or 0
            )
        if options.json and not follow:
            lines = [line for _, line in found]
            options.print_json({"job_id": job_id, "operator": name, "logs": lines})
        else:
            _print_job(options, job_id, name, found)


def _print_job(
    options: Options, job_id: str, operator: str, found: Iterator[tuple[int, str]]
) -> None:
    """Prints lines as they come; with JSON each is an object on a line of its own."""
    last = 0
    for attempt, line in found:
        if options.json:
            options.print_json(
                {"job_id": job_id, "operator": operator, "attempt": attempt, "line": line}
            )
        else:
            if last and attempt != last:
                click.echo(f"claraedge: attempt {attempt}", err=True)
            click.echo(line, nl=not line.endswith("\n"))
        last = attempt
        sys.stdout.flush()


def _print_deployment(
    options: Options, deployment: str, executable: str, *, follow: bool, tail: int, attempt: int
) -> None:
    from claraedge.client.packages import deployments

    with options.connect() as connection:
        found = deployments.read_log(
            connection, deployment, executable, follow=follow, tail=tail, attempt=attempt
        )
        if options.json and not follow:
            lines = [line for _, line in found]
            options.print_json({"deployment": deployment, "logs": lines})
            return
        last = 0
        for number, line in found:
            if options.json:
                options.print_json({"deployment": deployment, "attempt": number, "line": line})
            else:
                if last and number != last:
                    click.echo(f"claraedge: attempt {number}", err=True)
                click.echo(line)
            last = number
            sys.stdout.flush()


def _only_operator(job: JobDetails) -> str:
    """Returns the operator of a job that has one. Raises click.UsageError for another job."""
    names = [operator.name for operator in job.operators]
    if len(names) == 1:
        return names[0]
    raise click.UsageError(
        f"name the operator with -o; those of the job are: {', '.join(names)}",
        click.get_current_context(),
    )
