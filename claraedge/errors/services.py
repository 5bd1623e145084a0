"""Errors of services and of the inference server."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


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
