"""Checks `services:` of an operator: containers that run alongside it, or deployments, and
connections to them. Pure.

Source: Clara 0.7.4, service and connections (deprecated there since 0.7.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from claraedge.pipelines.checks.containers import (
    is_variable,
    read_container,
    read_requests,
    read_variables,
)
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.checks.entries import container_path
from claraedge.pipelines.checks.fields import Fields
from claraedge.pipelines.checks.imports import Imports
from claraedge.pipelines.model import ContainerDefinition, HttpConnection, Service, VolumeConnection
from claraedge.pipelines.syntax.grammar import (
    FIRST_PORT,
    ConnectionsObject,
    HttpConnectionEntry,
    ServiceEntry,
    VolumeConnectionEntry,
)
from claraedge.pipelines.syntax.nodes import ScalarNode
from claraedge.pipelines.syntax.problems import Location, Report, shown, where


def read_services(
    operator: Fields, imports: Imports, device: Device | None, report: Report
) -> tuple[Service, ...]:
    """Reads the entries of `services:`, with what they import."""
    services = []
    seen: dict[str, Location] = {}
    connections: dict[str, Location] = {}
    for entry in operator.objects("services", "`- name: NAME` with `container:`"):
        whole = imports.service(entry)
        if whole is None:
            continue
        fields = Fields(whole.node, "a service", ServiceEntry, report)
        name = fields.name("name", "a service", required="add `name:`")
        deployed = fields.has("deployment")
        container: ContainerDefinition | None = None
        inner: Mapping[str, str] = {}
        if deployed:
            _refuse_with_deployment(fields, ("container", "requests", "variables"), report)
        else:
            container, inner = _own_container(fields, report)
        variables = {**inner, **read_variables(fields, report)}
        if name is not None:
            _unique(name, fields, seen, "two services of the operator are named", report)
        http, volumes = _connections(fields, connections, report, deployed=deployed)
        services.append(
            Service(
                name=name.text if name is not None else "",
                container=container,
                deployment=_name_of_other(fields, "deployment", report) if deployed else "",
                component=_name_of_other(fields, "component", report) if deployed else "",
                description=fields.text("description"),
                variables=variables,
                requests=read_requests(fields, device, report),
                http=http,
                volumes=volumes,
            )
        )
    return tuple(services)


def _own_container(
    service: Fields, report: Report
) -> tuple[ContainerDefinition, Mapping[str, str]]:
    if service.has("component"):
        report.error(
            "missing-property",
            service.key("component"),
            "`component` is written without `deployment`",
            "add `deployment:` with the name of a deployment, or remove `component:`",
        )
    container, variables = read_container(service, "a service", report)
    return container or ContainerDefinition(image=""), variables


def _refuse_with_deployment(fields: Fields, names: Iterable[str], report: Report) -> None:
    """Reports each of these properties that is written: a deployment has its own, or none."""
    for name in names:
        if fields.has(name):
            report.error(
                "not-with-deployment",
                fields.key(name),
                f"`{name}` is written in a service that is a deployment, which has its own"
                " containers, requests, variables and volumes",
                f"remove `{name}:`, or remove `deployment:` and write a `container:`",
            )


def _name_of_other(service: Fields, name: str, report: Report) -> str:
    """Returns the name of a deployment or of a component; empty where there is none."""
    value = service.scalar(name)
    if value is None:
        return ""
    text = value.text
    if not value.unresolved and ("/" in text or not text.isprintable() or text != text.strip()):
        report.error(
            "invalid-name",
            value,
            f"{shown(text)} is no name for a {name}",
            "write a name or an id that `claraedge list deployments` shows",
        )
    return text


def _connections(
    service: Fields, names: dict[str, Location], report: Report, *, deployed: bool
) -> tuple[tuple[HttpConnection, ...], tuple[VolumeConnection, ...]]:
    node = service.object("connections", "`connections: {http: [{name: NAME}]}`")
    if node is None:
        return (), ()
    fields = Fields(node, "connections", ConnectionsObject, report)
    if deployed:
        _refuse_with_deployment(fields, ("volume", "file"), report)
    http = []
    for entry in fields.objects("http", "`- name: VARIABLE`"):
        each = Fields(entry, "a connection", HttpConnectionEntry, report)
        name = _variable(each, service, names, report)
        port = each.integer("port", "port numbers", least=1 if deployed else FIRST_PORT)
        if name is not None:
            http.append(HttpConnection(name=name.text, port=port))
    volumes = []
    for word in ("volume", "file"):
        for entry in fields.objects(word, "`- name: VARIABLE` with `path:`"):
            each = Fields(entry, "a connection", VolumeConnectionEntry, report)
            name = _variable(each, service, names, report)
            at = each.scalar("path", required="add `path:` with a folder of the container")
            path = container_path(at, report) if at is not None else None
            if name is not None and at is not None:
                volumes.append(VolumeConnection(name=name.text, path=path or at.text))
    return tuple(http), tuple(volumes)


def _variable(
    connection: Fields, service: Fields, names: dict[str, Location], report: Report
) -> ScalarNode | None:
    """Reads the name of a connection, which becomes a variable of the operator."""
    name = connection.scalar("name", required="add `name:` with the operator's variable")
    if name is None or name.unresolved:
        return name
    if not is_variable(name.text):
        report.error(
            "invalid-variable",
            name,
            f"{shown(name.text)} is no name for a variable, which a connection's name becomes",
            "use letters, digits, `_`, `.` and `-`, and no digit in front",
        )
        return None
    _unique(name, service, names, "two connections of the operator are named", report)
    return name


def _unique(
    name: ScalarNode, service: Fields, seen: dict[str, Location], what: str, report: Report
) -> None:
    # A file may be imported twice: report the place of the import.
    at = name if name.file == service.node.file else service.node
    folded = name.text.casefold()
    first = seen.get(folded)
    if first is None:
        seen[folded] = at
    elif not name.unresolved:
        report.error(
            "duplicate-name",
            at,
            f"{what} {shown(name.text)} (names are compared without case), the first on"
            f" {where(first, at)}",
            "give each its own name",
        )
