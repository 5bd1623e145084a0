"""Errors of containers, and of Podman."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


class ContainerError(ClaraedgeError):
    """Podman refused to create or start a container; the message contains its reason.

    To do: correct what the message names, and create a new job.
    """

    name = "container"
    code = -0x5102


class DeviceError(ContainerError):
    """A container would run without a GPU that it was given, or could not use it.

    To do: correct what the message names: the CDI spec, the driver, or the permissions of a device
    node.
    """

    name = "device"
    code = -0x5109


class NetworkError(ContainerError):
    """The containers of a job could not get their private network; the message has the reason.

    To do: add what is missing, as the message says. Jobs without models and services need no
    network.
    """

    name = "network"
    code = -0x5104


class RunnerUnavailableError(ClaraedgeError):
    """Podman does not answer. Work waits; it does not fail.

    To do: read the reason in `claraedge status` or the journal, and correct it; work then continues
    by itself.
    """

    name = "runner-unavailable"
    code = -0x5103
    status = "UNAVAILABLE"


class ServiceError(ClaraedgeError):
    """A service or the inference server that a job needs did not start, or ended; the message
    contains the reason.

    To do: read the log that the message names; correct the service, and create a new job.
    """

    name = "service"
    code = -0x5105


class ModelNotReadyError(ServiceError):
    """The inference server did not load a model that a job needs; the message contains its reason.

    To do: correct the model as the reason says, upload it again, and create a new job.
    """

    name = "model-not-ready"
    code = -0x5106
