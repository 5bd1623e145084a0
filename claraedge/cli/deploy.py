"""`claraedge deploy`, `claraedge undeploy`: start and end deployments of packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from claraedge.cli.options import Options, pairs, remote
from claraedge.cli.output import clean
from claraedge.cli.subject import DEPLOYMENT, PACKAGE, subject
from claraedge.cli.watch_deployment import (
    is_over,
    is_settled,
    refuse_failed,
    watch_deployment,
)

if TYPE_CHECKING:
    from claraedge.client.packages.deployments import ComponentOptions
    from claraedge.client.packages.values import PackageInfo, PlanInfo

_POLICIES = {"always": "ALWAYS", "on-failure": "ON_FAILURE", "never": "NEVER"}


@click.command()
@subject("package", PACKAGE)
@click.option("-n", "--name", required=True, help="Unique among deployments that have not stopped.")
@click.option("--plan", default="", help="Id or name of the plan, if the package has several.")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="[COMPONENT/]NAME=VALUE",
    help="Value of a parameter, of one component or of all that have it. Can be repeated.",
)
@click.option(
    "-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Can be repeated."
)
@click.option(
    "--depends-on",
    "dependencies",
    multiple=True,
    metavar="DEPLOYMENT",
    help="A deployment whose addresses it gets in its environment. Can be repeated.",
)
@click.option(
    "--route",
    "routes",
    multiple=True,
    metavar="[COMPONENT/]ENDPOINT=ROUTE",
    help="A static route that leads to this endpoint, by id or prefix. Can be repeated.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NETWORK",
    help="A private network that it joins, by id or name. Can be repeated.",
)
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="[COMPONENT[/EXECUTABLE]:]FOLDER:/PATH",
    help="Folder below the device's folder of volumes, or a folder that the administrator lists,"
    " at this path of the containers. Can be repeated.",
)
@click.option(
    "--restart",
    type=click.Choice(list(_POLICIES)),
    help="When executables are started again after their end, in place of the package's rule.",
)
@click.option("-w", "--wait", "wait", is_flag=True, help="Wait until it runs or has failed.")
@remote
def deploy(
    options: Options,
    package: str,
    name: str,
    plan: str,
    parameters: tuple[str, ...],
    labels: tuple[str, ...],
    dependencies: tuple[str, ...],
    routes: tuple[str, ...],
    networks: tuple[str, ...],
    mounts: tuple[str, ...],
    restart: str | None,
    wait: bool,
) -> None:
    """Keep a package running on this device; prints DEPLOYMENT_ID:<id>.

    PACKAGE is an id, a name (its newest version) or NAME:VERSION. With --wait the exit code is 0
    only if the deployment runs.

    Example: claraedge deploy camera:v2 --name front --parameter RATE=25 --mount data:/data --wait
    """
    from claraedge.client.packages import catalogue, deployments

    with options.connect() as connection:
        found = catalogue.get(connection, package)
        components = deployments.ComponentOptions()
        general = _parameters(components, pairs(parameters, "--parameter"))
        if mounts or routes or restart is not None:
            chosen = _plan(found, plan)
            for endpoint, route in pairs(routes, "--route").items():
                _route(components, chosen, endpoint, route)
            for mount in mounts:
                _mount(components, chosen, mount)
            if restart is not None:
                for component in chosen.components:
                    components.restart(component.name, _POLICIES[restart])
        made = deployments.create(
            connection,
            name=name,
            package=found.id,
            plan=plan,
            parameters=general,
            components=components,
            labels=pairs(labels, "--label"),
            dependencies=dependencies,
            networks=networks,
        )
        if not options.json:  # at once: a script has the id even if it does not start
            click.echo(f"DEPLOYMENT_ID:{made.id}")
        if wait:
            made = watch_deployment(
                options, connection, made.id, until=is_settled, show=not options.json
            )
    if options.json:
        options.print_json(made)
    if wait:
        refuse_failed(made)


def _parameters(components: ComponentOptions, given: dict[str, str]) -> dict[str, str]:
    """Returns the values for all components; sets those of single components."""
    general = {}
    for key, value in given.items():
        component, _, name = key.rpartition("/")
        if component:
            components.parameter(component, name, value)
        else:
            general[name] = value
    return general


def _plan(package: PackageInfo, text: str) -> PlanInfo:
    """Returns the plan that is meant. Raises click.BadParameter if there is none or several."""
    found = [plan for plan in package.plans if text in ("", plan.id, plan.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(plan.name for plan in package.plans)
    raise click.BadParameter(
        f"name one of the plans of {package.name}: {names}", param_hint="--plan"
    )


def _route(components: ComponentOptions, plan: PlanInfo, text: str, route: str) -> None:
    """Lets a route lead to an endpoint. Raises click.BadParameter."""
    component, _, endpoint = text.rpartition("/")
    found = [
        each.id
        for each in plan.components
        if (not component or component in (each.id, each.name))
        and endpoint in [own.name for own in each.endpoints]
    ]
    if len(found) != 1:
        known = [f"{each.name}/{own.name}" for each in plan.components for own in each.endpoints]
        raise click.BadParameter(
            f"{text!r} names {len(found)} endpoints of the plan {plan.name}; name one of:"
            f" {', '.join(known) or 'none'}",
            param_hint="--route",
        )
    components.route(found[0], endpoint, route)


def _mount(components: ComponentOptions, plan: PlanInfo, text: str) -> None:
    """Adds a mount. Raises click.BadParameter."""
    hint = "--mount"
    left, separator, path = text.rpartition(":/")
    target, _, folder = left.rpartition(":")
    if not separator or not folder:
        raise click.BadParameter(
            f"{text!r} is not [COMPONENT[/EXECUTABLE]:]FOLDER:/PATH", param_hint=hint
        )
    names = {name for each in plan.components for name in (each.id, each.name)}
    component, executable = target, ""
    if target not in names:
        component, _, executable = target.rpartition("/")
    if not target and len(plan.components) == 1:
        component = plan.components[0].name
    if component not in names:
        known = ", ".join(each.name for each in plan.components)
        raise click.BadParameter(
            f"{text!r} names no component of the plan {plan.name}: {known}", param_hint=hint
        )
    components.mount(component, executable, folder, f"/{path}")


@click.command()
@subject("names", DEPLOYMENT, several=True)
@click.option("-w", "--wait", "wait", is_flag=True, help="Wait until all containers have ended.")
@remote
def undeploy(options: Options, names: tuple[str, ...], wait: bool) -> None:
    """End deployments; prints the id of each. Their records and logs are kept for a while.

    All are checked first: if one is wrong, none is ended. With --output json, each is one line.

    Example: claraedge undeploy front --wait
    """
    from claraedge.client.packages import deployments

    with options.connect() as connection:
        for deployment_id in dict.fromkeys(deployments.get(connection, n).id for n in names):
            found = deployments.undeploy(connection, deployment_id)
            if wait:
                found = watch_deployment(
                    options, connection, deployment_id, until=is_over, show=False
                )
            if options.json:
                options.print_json(found)
            else:
                click.echo(clean(found.id))
