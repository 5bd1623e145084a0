"""Checks which static routes lead to a deployment, and which networks it joins. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from claraedge.deployments.model import DeploymentPlan
from claraedge.deployments.networks.model import PrivateNetwork
from claraedge.packages.model import Component

#: Protocols of endpoints that a static route can lead to. The HTTP front itself has the TLS.
_ROUTED = ("HTTP", "TCP")


def routes_of(
    component: Component,
    given: Mapping[str, str],
    known: Mapping[str, str],
    place: str,
    mistakes: list[str],
) -> Mapping[str, str]:
    """Returns, per name of an endpoint, the id of its static route; adds the mistakes.

    `given`: as in `ComponentRequest.routes`. `known`: id or prefix of each route that exists -> id.
    """
    endpoints = {endpoint.name: endpoint for endpoint in component.endpoints}
    found = {}
    for name, route in given.items():
        where = f"{place}.routes.{name[:80]}"
        endpoint = endpoints.get(name)
        if endpoint is None:
            mistakes.append(f"{where}: there is no such endpoint{close_name(name, endpoints)}")
        elif not endpoint.exposed:
            mistakes.append(
                f"{where}: the package does not expose this endpoint; set its `exposeExternally` in"
                " the manifest, and create the package again"
            )
        elif not endpoint.target_port or endpoint.protocol not in _ROUTED:
            mistakes.append(
                f"{where}: a route leads to a single port with HTTP, and this endpoint is"
                f" {endpoint.protocol} at {endpoint.target_port or endpoint.port_range}; choose"
                " another endpoint"
            )
        if route not in known:
            mistakes.append(
                f"{where}: no route has the id or prefix {route[:80]!r}; create it first"
                " (`claraedge create route PREFIX`)"
            )
        else:
            found[name] = known[route]
    return found


def routed_twice(plan: DeploymentPlan) -> list[str]:
    """Returns which routes are to lead to several endpoints."""
    counts = Counter(route for c in plan.components for route in c.routes.values())
    return [
        f"components.routes: the route {route} is given {count} times; a route leads to one"
        " endpoint"
        for route, count in counts.items()
        if count > 1
    ]


def networks_of(
    texts: Iterable[str], known: Mapping[str, PrivateNetwork], mistakes: list[str]
) -> tuple[str, ...]:
    """Returns the ids of the networks that a deployment joins; adds the mistakes.

    `texts`: ids or names. `known`: those that exist, by id or name.
    """
    found = {known[text].id: known[text] for text in texts if text in known}
    mistakes += [
        f"networks: no network has the id or name {text[:80]!r}; create it first"
        " (`claraedge create network NAME`)"
        for text in texts
        if text not in known
    ]
    ros = [network.given.name for network in found.values() if network.given.distro]
    if len(ros) > 1:
        mistakes.append(
            f"networks: {', '.join(ros)} have a ROS distribution each; a program has one ROS"
            " master: give one of them"
        )
    return tuple(found)


def close_name(name: str, known: Iterable[str]) -> str:
    """Returns what to say of a name that is not known: the one that was meant, or all."""
    names = sorted(known)
    close = get_close_matches(name, names, 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are: {', '.join(names)}" if names else "; there are none"
