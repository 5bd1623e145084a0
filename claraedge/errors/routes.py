"""Errors of static routes and private networks."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


class InvalidRouteError(ClaraedgeError):
    """The prefix of a static route has another form than 4 to 64 lower-case letters, digits and
    hyphens, a letter first.

    To do: give another prefix.
    """

    name = "invalid-route"
    code = -0x5320
    status = "INVALID_ARGUMENT"


class RouteExistsError(ClaraedgeError):
    """A static route with this prefix exists.

    To do: use the route that the message names, or give another prefix.
    """

    name = "route-exists"
    code = -0x5321
    status = "ALREADY_EXISTS"


class RouteNotFoundError(ClaraedgeError):
    """No static route has this id or prefix.

    To do: find the id or prefix with `claraedge list routes`, or create the route.
    """

    name = "route-not-found"
    code = -0x5322
    status = "NOT_FOUND"


class RouteInUseError(ClaraedgeError):
    """A static route leads to a deployment that has not stopped.

    To do: end the deployment that the message names with `claraedge undeploy`, or use another
    route.
    """

    name = "route-in-use"
    code = -0x5323
    status = "FAILED_PRECONDITION"
    http_status = 409


class RouteLimitError(ClaraedgeError):
    """The device has as many static routes as it can have.

    To do: delete a route that is not used with `claraedge delete route`.
    """

    name = "route-limit"
    code = -0x5324
    status = "RESOURCE_EXHAUSTED"


class RouteNotReadyError(ClaraedgeError):
    """The static route leads to no program that answers: no deployment uses it, or the one that
    does is not running.

    To do: wait until `claraedge describe deployment` shows that the deployment in the message runs,
    or create one with the route.
    """

    name = "route-not-ready"
    code = -0x5325
    status = "UNAVAILABLE"


class RouteAnswerError(ClaraedgeError):
    """The program that a static route leads to did not answer with valid HTTP.

    To do: correct the program, or the `targetPort` of the endpoint in its package;
    `claraedge logs` shows its output.
    """

    name = "route-answer"
    code = -0x5326
    status = "UNAVAILABLE"
    http_status = 502


class RouteTimeoutError(ClaraedgeError):
    """The program that a static route leads to did not read a request, or did not begin to answer,
    in time.

    To do: correct the program, or raise `http.route_seconds`.
    """

    name = "route-timeout"
    code = -0x5327
    status = "DEADLINE_EXCEEDED"


class InvalidNetworkError(ClaraedgeError):
    """The settings of a private network are not valid. Each mistake has its field.

    To do: correct each mistake, and create the network again.
    """

    name = "invalid-network"
    code = -0x5340
    status = "INVALID_ARGUMENT"


class NetworkExistsError(ClaraedgeError):
    """A private network with this name exists.

    To do: use the network that the message names, or give another name.
    """

    name = "network-exists"
    code = -0x5341
    status = "ALREADY_EXISTS"


class NetworkNotFoundError(ClaraedgeError):
    """No private network has this id or name, or it is being deleted.

    To do: find the id or name with `claraedge list networks`, or create the network.
    """

    name = "network-not-found"
    code = -0x5342
    status = "NOT_FOUND"


class NetworkInUseError(ClaraedgeError):
    """Deployments that have not stopped are on this private network.

    To do: end the deployments that the message names with `claraedge undeploy`.
    """

    name = "network-in-use"
    code = -0x5343
    status = "FAILED_PRECONDITION"
    http_status = 409


class NetworkMasterError(ClaraedgeError):
    """The ROS master of a private network could not be started, or has failed.

    To do: correct the image in `[deployments] ros_images`, or what the message names; then restart
    the daemon, or delete the network and create it again.
    """

    name = "network-master"
    code = -0x5345
    status = "FAILED_PRECONDITION"


class NetworkLimitError(ClaraedgeError):
    """The device has as many private networks as it can have, or a network as many components.

    To do: delete a network that is not used with `claraedge delete network`, or use another one.
    """

    name = "network-limit"
    code = -0x5344
    status = "RESOURCE_EXHAUSTED"
