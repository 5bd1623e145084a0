"""`claraedge list pipelines | jobs | models | packages | ...`: prints a table of them."""

from __future__ import annotations

import click

from claraedge.cli.create import show_warnings
from claraedge.cli.options import Nouns, Options, remote
from claraedge.cli.output import local, table
from claraedge.texts import size

_QUIET = click.option("-q", "--quiet", is_flag=True, help="Print only ids.")


@click.group("list", cls=Nouns)
def list_() -> None:
    """List pipelines, jobs, models, packages, deployments, the drop folder and more."""


@list_.command("pipelines")
@_QUIET
@remote
def list_pipelines(options: Options, quiet: bool) -> None:
    """List pipelines in the order of their creation, and problems of files in pipelines.d."""
    from claraedge.client import pipelines
    from claraedge.client.values import ListedPipeline

    with options.connect() as connection:
        found = pipelines.list_all(connection)
        if quiet and not options.json:
            _ids([p.id for p in found])
            return
        files = pipelines.files(connection)
    sources = {f.pipeline_id: f.path for f in files if not f.gone}
    warnings = [problem for file in files for problem in file.problems]
    if options.json:
        listed = [
            ListedPipeline(id=p.id, name=p.name, metadata=p.metadata, source=sources.get(p.id, ""))
            for p in found
        ]
        options.print_json({"pipelines": listed, "warnings": warnings})
        return
    if sources:
        rows = [(p.name, p.id, sources.get(p.id, "-")) for p in found]
        click.echo(table(("NAME", "ID", "SOURCE"), rows))
    else:
        click.echo(table(("NAME", "ID"), [(p.name, p.id) for p in found]))
    show_warnings(warnings)


@list_.command("jobs")
@_QUIET
@remote
def list_jobs(options: Options, quiet: bool) -> None:
    """List all jobs, the newest first."""
    from claraedge.client import jobs

    with options.connect() as connection:
        found = jobs.list_all(connection)
    if options.json:
        options.print_json({"jobs": found})
    elif quiet:
        _ids([j.id for j in found])
    else:
        rows = [(j.name, j.id, j.state, j.status, j.priority, local(j.created)) for j in found]
        click.echo(table(("NAME", "ID", "STATE", "STATUS", "PRIORITY", "CREATED"), rows))


@list_.command("models")
@_QUIET
@remote
def list_models(options: Options, quiet: bool) -> None:
    """List the models of the repository in the order of their first upload."""
    from claraedge.client import models

    with options.connect() as connection:
        found = models.list_all(connection)
    if options.json:
        options.print_json({"models": found})
    elif quiet:
        _ids([m.id for m in found])
    else:
        spelled = {wire: typed for typed, wire in models.TYPES.items()}
        rows = [(m.name, m.id, spelled.get(m.type, m.type)) for m in found]
        click.echo(table(("NAME", "ID", "TYPE"), rows))


@list_.command("images")
@_QUIET
@remote
def list_images(options: Options, quiet: bool) -> None:
    """List the container images of the device."""
    from claraedge.client import appliance

    with options.connect() as connection:
        found, warnings = appliance.list_images(connection)
    if options.json:
        options.print_json({"images": found, "warnings": warnings})
        return
    if quiet:
        _ids([i.id for i in found])
        return
    rows = [
        (name, i.id[:12], size(i.size), local(i.created))
        for i in found
        for name in (i.names or i.digests or ("-",))
    ]
    click.echo(table(("NAME", "ID", "SIZE", "CREATED"), rows))
    problems = [f"{(i.names or (i.id[:12],))[0]}: {i.problem}" for i in found if i.problem]
    show_warnings([*problems, *warnings])


@list_.command("inbox")
@click.option("--state", help="Only items in this state, for example parked or failed.")
@click.option(
    "-w", "--watch", "follow", is_flag=True, help="Print a line for each change, until Ctrl-C."
)
@_QUIET
@remote
def list_inbox(options: Options, state: str | None, follow: bool, quiet: bool) -> None:
    """List the items of the drop folder and their states."""
    from claraedge.client import appliance

    if state is not None and state.upper() not in appliance.ITEM_STATES:
        known = ", ".join(s.lower() for s in appliance.ITEM_STATES)
        raise click.BadParameter(f"{state!r} is no state; known: {known}", param_hint="--state")
    with options.connect() as connection:
        if follow:
            from claraedge.cli.watch_inbox import watch_inbox

            watch_inbox(options, connection, state)
        found = appliance.list_items(connection, state.upper() if state else None)
    if options.json:
        options.print_json({"items": found})
    elif quiet:
        _ids([i.id for i in found])
    else:
        rows = [
            (
                i.name,
                i.pipeline,
                i.state,
                i.job_id[:12] or "-",
                local(i.first_seen),
                _what(i.reason, i.remedy),
            )
            for i in found
        ]
        click.echo(table(("NAME", "PIPELINE", "STATE", "JOB", "FIRST SEEN", "REASON"), rows))


@list_.command("packages")
@_QUIET
@remote
def list_packages(options: Options, quiet: bool) -> None:
    """List the packages in the order of their creation."""
    from claraedge.client.packages import catalogue

    with options.connect() as connection:
        found = catalogue.list_all(connection)
    if options.json:
        options.print_json({"packages": found})
    elif quiet:
        _ids([p.id for p in found])
    else:
        rows = [(p.name, p.version, p.id, local(p.created)) for p in found]
        click.echo(table(("NAME", "VERSION", "ID", "CREATED"), rows))


@list_.command("deployments")
@click.option(
    "--package", default="", help="Only those of this package: an id, NAME or NAME:VERSION."
)
@click.option("-a", "--all", "stopped", is_flag=True, help="Those that have stopped as well.")
@_QUIET
@remote
def list_deployments(options: Options, package: str, stopped: bool, quiet: bool) -> None:
    """List the deployments that have not stopped, in the order of their creation."""
    from claraedge.client.packages import deployments

    phases = () if stopped else [phase for phase in deployments.PHASES if phase != "STOPPED"]
    with options.connect() as connection:
        found = deployments.list_all(connection, package, phases)
    if options.json:
        options.print_json({"deployments": found})
    elif quiet:
        _ids([d.id for d in found])
    else:
        rows = [
            (
                d.name,
                d.id,
                f"{d.package_name}:{d.package_version}",
                d.phase,
                d.status,
                str(d.restarts),
                local(d.created),
            )
            for d in found
        ]
        head = ("NAME", "ID", "PACKAGE", "PHASE", "STATUS", "RESTARTS", "CREATED")
        click.echo(table(head, rows))


@list_.command("bag-jobs")
@click.option("--deployment", default="", help="Only those of this deployment: an id or a name.")
@_QUIET
@remote
def list_bag_jobs(options: Options, deployment: str, quiet: bool) -> None:
    """List the jobs that record ROS topics, in the order of their creation."""
    from claraedge.client.packages import bags

    with options.connect() as connection:
        found = bags.list_jobs(connection, deployment)
    if options.json:
        options.print_json({"jobs": found})
    elif quiet:
        _ids([job.id for job in found])
    else:
        rows = [
            (j.name, j.id, j.deployment_name, j.component_name, j.status, j.payload_id or "-")
            for j in found
        ]
        head = ("NAME", "ID", "DEPLOYMENT", "COMPONENT", "STATUS", "PAYLOAD")
        click.echo(table(head, rows))


@list_.command("bags")
@click.option("--job", default="", help="Only those of this bag job: an id.")
@_QUIET
@remote
def list_bags(options: Options, job: str, quiet: bool) -> None:
    """List ROS bags, in the order in which they were found."""
    from claraedge.client.packages import bags

    with options.connect() as connection:
        found = bags.list_all(connection, job)
    if options.json:
        options.print_json({"bags": found})
    elif quiet:
        _ids([bag.id for bag in found])
    else:
        rows = [
            (b.name, b.id, b.status, str(b.size), str(b.messages), b.payload_id or "-")
            for b in found
        ]
        head = ("NAME", "ID", "STATUS", "BYTES", "MESSAGES", "PAYLOAD")
        click.echo(table(head, rows))


@list_.command("routes")
@_QUIET
@remote
def list_routes(options: Options, quiet: bool) -> None:
    """List the static routes, and the deployments that they lead to."""
    from claraedge.client.packages import routes

    with options.connect() as connection:
        found = routes.list_all(connection)
    if options.json:
        options.print_json({"routes": found})
    elif quiet:
        _ids([route.id for route in found])
    else:
        rows = [
            (
                route.prefix,
                route.id,
                route.path,
                route.target.deployment_name or "-",
                route.target.endpoint or "-",
            )
            for route in found
        ]
        click.echo(table(("PREFIX", "ID", "PATH", "DEPLOYMENT", "ENDPOINT"), rows))


@list_.command("networks")
@_QUIET
@remote
def list_networks(options: Options, quiet: bool) -> None:
    """List the private networks of deployments."""
    from claraedge.client.packages import networks

    with options.connect() as connection:
        found = networks.list_all(connection)
    if options.json:
        options.print_json({"networks": found})
    elif quiet:
        _ids([network.id for network in found])
    else:
        rows = [
            (
                network.name,
                network.id,
                network.ros_distro or "-",
                network.phase,
                network.status,
                str(len(network.used_by)),
                network.details or "-",
            )
            for network in found
        ]
        head = ("NAME", "ID", "ROS", "PHASE", "STATUS", "DEPLOYMENTS", "DETAILS")
        click.echo(table(head, rows))


def _what(reason: str, remedy: str) -> str:
    return f"{reason}; to do: {remedy}" if reason and remedy else reason or remedy


def _ids(ids: list[str]) -> None:
    for id_ in ids:
        click.echo(id_)
