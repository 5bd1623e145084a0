"""Packages as values: what a manifest declares, with the ids that its parts got. Pure.

Names are those of the manifest, in snake case. Source: rapyuta.io, Package module.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec


class RestartPolicy(enum.StrEnum):
    """What decides whether an executable is started again after its end; words of the manifest."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "no"


class PullPolicy(enum.StrEnum):
    """What decides whether an image is pulled; words of the manifest."""

    ALWAYS = "Always"
    """Whenever a deployment starts for the first time, or is updated."""
    IF_NOT_PRESENT = "IfNotPresent"
    """If it is not on the device."""
    NEVER = "Never"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter becomes an environment variable of the component's executables."""

    name: str
    description: str = ""
    default: str | None = None
    """None: a deployment must give a value."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A port at which a component accepts connections of others."""

    name: str
    """Letters, digits, `_` and `-`."""
    port: int = 0
    """The port that others use; 0 for a range."""
    target_port: int = 0
    """The port that the component listens on; 0 for a range."""
    port_range: str = ""
    """Such as `53,1024-1025`; empty for a single port."""
    protocol: str = "TCP"
    """`HTTP`, `HTTPS`, `TCP`, `UDP`."""
    exposed: bool = False
    """Whether a static route may lead to it."""


class LivenessProbe(msgspec.Struct, frozen=True, kw_only=True):
    """How to find out whether a program that runs still works: one of HTTP, TCP and a command."""

    port: int = 0
    """The port for HTTP or TCP; 0: a command is run."""
    path: str = ""
    """The path for HTTP; empty: a TCP connection is enough."""
    command: tuple[str, ...] = ()
    """A program in the container, and its arguments."""
    delay: int = 1
    """Seconds from the start to the first probe."""
    period: int = 10
    """Seconds between two probes."""
    timeout: int = 10
    """Seconds for the connection, and for the answer."""
    successes: int = 1
    """Successes in a row after which earlier failures do not count any more."""
    failures: int = 3
    """Failures after which the program is ended; in a row, if `successes` is 1."""


class Executable(msgspec.Struct, frozen=True, kw_only=True):
    """One program of a component: one container."""

    id: str
    name: str
    """Unique in the component."""
    image: str = ""
    """Empty: it is not in an image that the manifest names; see `built`."""
    command: tuple[str, ...] = ()
    """Lines for the shell of the image; empty: the image's own entry point."""
    memory: int = 0
    """Megabytes; 0: no limit is given."""
    cpu: float = 0.0
    """Cores; 0: no limit is given."""
    gpus: int = 0
    pull: PullPolicy = PullPolicy.IF_NOT_PRESENT
    probe: LivenessProbe | None = None
    built: bool = False
    """Whether its image is to be built from source (`buildGUID`, `gitExecutable`)."""


class Ros(msgspec.Struct, frozen=True, kw_only=True):
    """What a component has to do with ROS; names of interfaces."""

    enabled: bool = False
    """`isROS`"""
    distro: str = ""
    """Such as `noetic`; empty: not given."""
    topics: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """Executables that start together and reach each other at localhost."""

    id: str
    name: str
    """Unique in the plan."""
    description: str = ""
    runtime: str = "device"
    """`device`, `cloud` or `device,cloud` (`requiredRuntime`)."""
    architecture: str = ""
    """`amd64`, `arm64v8` or `arm32v7`; empty: any."""
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    parameters: tuple[Parameter, ...] = ()
    executables: tuple[Executable, ...]
    endpoints: tuple[Endpoint, ...] = ()
    ros: Ros = Ros()
    rosbag_jobs: tuple[Mapping[str, Any], ...] = ()
    """`rosBagJobDefs` as given."""

    def executable(self, text: str) -> Executable | None:
        """Returns the executable with this id or name; None if there is none."""
        return _named(self.executables, text)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One way to deploy a package."""

    id: str
    name: str
    """Unique in the package."""
    singleton: bool = False
    """Whether only one deployment of it may exist at a time."""
    components: tuple[Component, ...]
    metadata: Mapping[str, Any] = {}
    """As given."""
    inbound_ros: Mapping[str, Any] = {}
    """`inboundROSInterfaces` as given."""
    dependent_deployments: tuple[Any, ...] = ()
    """As given."""
    exposed_parameters: tuple[Any, ...] = ()
    """As given."""
    include_packages: tuple[Any, ...] = ()
    """As given."""

    def component(self, text: str) -> Component | None:
        """Returns the component with this id or name; None if there is none."""
        return _named(self.components, text)


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A version of an application. It never changes."""

    id: str
    name: str
    version: str
    """Such as `v1.0.0`; a package is unique by name and version."""
    description: str = ""
    bindable: bool = True
    plans: tuple[Plan, ...]
    created: float = 0.0
    """Unix seconds."""
    manifest: str = ""
    """The manifest as JSON; empty in lists."""

    def plan(self, text: str) -> Plan | None:
        """Returns the plan with this id or name; an empty text means the only plan.

        Returns None if there is none, or if the text is empty and there are several.
        """
        if not text:
            return self.plans[0] if len(self.plans) == 1 else None
        return _named(self.plans, text)


class _Identified(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Identified)


def _named(things: Iterable[_N], text: str) -> _N | None:
    by_name = None
    for thing in things:
        if thing.id == text:
            return thing
        if thing.name == text:
            by_name = thing
    return by_name
