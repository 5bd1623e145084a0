"""Errors of models, catalogs and model instances."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError
from claraedge.errors.calls import InvalidRequestError


class InvalidModelIdError(InvalidRequestError):
    """The text is not a valid model id.

    To do: give 32 hex digits, with or without dashes, as `claraedge list models` shows them.
    """

    name = "invalid-model-id"
    code = -0x4000


class ModelNotFoundError(ClaraedgeError):
    """No model has this id.

    To do: find the id with `claraedge list models`; upload the model if it is missing.
    """

    name = "model-not-found"
    code = -0x4001
    status = "NOT_FOUND"


class InvalidCatalogIdError(InvalidRequestError):
    """The text is not a valid catalog id.

    To do: give 32 hex digits, with or without dashes.
    """

    name = "invalid-catalog-id"
    code = -0x4002


class CatalogNotFoundError(ClaraedgeError):
    """No catalog has this id.

    To do: list the catalogs to find the id; create the catalog if it is missing.
    """

    name = "catalog-not-found"
    code = -0x4003
    status = "NOT_FOUND"


class InvalidInstanceIdError(InvalidRequestError):
    """The text is not a valid instance id.

    To do: give 32 hex digits, with or without dashes.
    """

    name = "invalid-instance-id"
    code = -0x4004


class InstanceNotFoundError(ClaraedgeError):
    """No instance has this id.

    To do: list the instances to find the id; create the instance if it is missing.
    """

    name = "instance-not-found"
    code = -0x4005
    status = "NOT_FOUND"


class InvalidModelError(InvalidRequestError):
    """The archive is not a model that can be stored; each problem has a message.

    To do: correct what the messages name. You can send the model's folder instead of an archive.
    """

    name = "invalid-model"
    code = -0x4100
