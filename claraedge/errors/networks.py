"""Errors of private networks."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


class InvalidNetworkError(ClaraedgeError):
    """The settings of a private network are not valid. Each mistake has its field.

    To do: correct each mistake, and create the network again.
    """

    name = "invalid-network"
    code = -0x6300
    status = "INVALID_ARGUMENT"


class NetworkExistsError(ClaraedgeError):
    """A private network with this name exists.

    To do: use the network that the message names, or give another name.
    """

    name = "network-exists"
    code = -0x6301
    status = "ALREADY_EXISTS"


class NetworkNotFoundError(ClaraedgeError):
    """No private network has this id or name, or it is being deleted.

    To do: find the id or name with `claraedge list networks`, or create the network.
    """

    name = "network-not-found"
    code = -0x6302
    status = "NOT_FOUND"


class NetworkInUseError(ClaraedgeError):
    """Deployments that have not stopped are on this private network.

    To do: end the deployments that the message names with `claraedge undeploy`.
    """

    name = "network-in-use"
    code = -0x6303
    status = "FAILED_PRECONDITION"
    http_status = 409


class NetworkMasterError(ClaraedgeError):
    """The ROS master of a private network could not be started, or has failed.

    To do: correct the image in `[deployments] ros_images`, or what the message names; then restart
    the daemon, or delete the network and create it again.
    """

    name = "network-master"
    code = -0x6305
    status = "FAILED_PRECONDITION"


class NetworkLimitError(ClaraedgeError):
    """The device has as many private networks as it can have, or a network as many components.

    To do: delete a network that is not used with `claraedge delete network`, or use another one.
    """

    name = "network-limit"
    code = -0x6304
    status = "RESOURCE_EXHAUSTED"
