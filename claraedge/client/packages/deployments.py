"""Calls of the Deployments service. A deployment is named as in GetDeploymentRequest.deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from claraedge.client.connection import Connection
from claraedge.client.packages.plain import value_of
from claraedge.client.packages.values import DeploymentInfo
from claraedge.wire.claraedge.v1 import deployments_pb2 as pb
from claraedge.wire.claraedge.v1.deployments_pb2_grpc import DeploymentsStub
from claraedge.wire.claraedge.v1.packages_pb2 import RestartPolicy

#: Names of the phases of deployments, as `list_all` accepts and values have them.
PHASES = tuple(
    name.removeprefix("DEPLOYMENT_PHASE_") for name, number in pb.DeploymentPhase.items() if number
)


class ComponentOptions:
    """What a deployment sets for single components; they are named by id or name."""

    def __init__(self) -> None:
        self._found: dict[str, pb.ComponentSettings] = {}

    def parameter(self, component: str, name: str, value: str) -> None:
        """Sets a parameter of a component."""
        self._of(component).parameters[name] = value

    def restart(self, component: str, policy: str) -> None:
        """Sets the restart policy of a component: `ALWAYS`, `ON_FAILURE` or `NEVER`."""
        number = RestartPolicy.Value(f"RESTART_POLICY_{policy}")
        self._of(component).restart_policy = number

    def mount(self, component: str, executable: str, sub_path: str, mount_path: str) -> None:
        """Mounts a folder of the device; an empty executable means all of the component."""
        self._of(component).mounts.add(
            executable=executable, sub_path=sub_path, mount_path=mount_path
        )

    def route(self, component: str, endpoint: str, route: str) -> None:
        """Lets a static route (id or prefix) lead to an endpoint of a component."""
        self._of(component).routes[endpoint] = route

    def messages(self) -> Sequence[pb.ComponentSettings]:
        """Returns one message for each component."""
        return tuple(self._found.values())

    def _of(self, component: str) -> pb.ComponentSettings:
        return self._found.setdefault(component, pb.ComponentSettings(component=component))


def create(
    connection: Connection,
    *,
    name: str,
    package: str,
    plan: str = "",
    parameters: Mapping[str, str] | None = None,
    components: ComponentOptions | None = None,
    labels: Mapping[str, str] | None = None,
    dependencies: Sequence[str] = (),
    networks: Sequence[str] = (),
) -> DeploymentInfo:
    """Creates a deployment; returns it before its containers start."""
    request = pb.CreateDeploymentRequest(
        name=name,
        package=package,
        plan=plan,
        parameters=parameters or {},
        components=() if components is None else components.messages(),
        labels=labels or {},
        dependencies=dependencies,
        networks=networks,
    )
    return _value(connection.unary(DeploymentsStub(connection.channel).Create, request))


def list_all(
    connection: Connection, package: str = "", phases: Sequence[str] = ()
) -> list[DeploymentInfo]:
    """Returns deployments in the order of their creation; empty arguments select all."""
    request = pb.ListDeploymentsRequest(
        package=package,
        phases=[pb.DeploymentPhase.Value(f"DEPLOYMENT_PHASE_{phase}") for phase in phases],
    )
    reply = connection.unary(DeploymentsStub(connection.channel).List, request)
    return [_value(deployment) for deployment in reply.deployments]


def get(connection: Connection, deployment: str) -> DeploymentInfo:
    """Returns a deployment, with the last lines of its logs. Raises DeploymentNotFoundError."""
    request = pb.GetDeploymentRequest(deployment=deployment)
    return _value(connection.unary(DeploymentsStub(connection.channel).Get, request, timeout=30.0))


def update(
    connection: Connection,
    deployment: str,
    executable: str,
    *,
    image: str = "",
    command: Sequence[str] | None = None,
) -> DeploymentInfo:
    """Changes an executable. An empty image, and None as the command, change nothing."""
    change = pb.ExecutableUpdate(executable=executable, image=image)
    if command is not None:
        change.command.CopyFrom(pb.CommandLines(lines=command))
    request = pb.UpdateDeploymentRequest(deployment=deployment, executables=[change])
    return _value(connection.unary(DeploymentsStub(connection.channel).Update, request))


def undeploy(connection: Connection, deployment: str) -> DeploymentInfo:
    """Ends a deployment; returns it before its containers have ended."""
    request = pb.DeleteDeploymentRequest(deployment=deployment)
    return _value(connection.unary(DeploymentsStub(connection.channel).Delete, request))


def read_log(
    connection: Connection,
    deployment: str,
    executable: str = "",
    *,
    follow: bool = False,
    tail: int = 0,
    attempt: int = 0,
) -> Iterator[tuple[int, str]]:
    """Yields the number of the start and each line of an executable's log, without line ends.

    With `follow` it waits for more until the deployment has stopped. `tail` selects so many of the
    last lines; 0 means all. `attempt` selects a start; 0 means the last one.
    """
    request = pb.ReadDeploymentLogRequest(
        deployment=deployment, executable=executable, follow=follow, tail=tail, attempt=attempt
    )
    for reply in connection.stream(DeploymentsStub(connection.channel).ReadLog, request):
        for line in reply.lines:
            yield reply.attempt, line


def _value(deployment: pb.Deployment) -> DeploymentInfo:
    return value_of(deployment, DeploymentInfo)
