"""The code of a deployment's failure. Pure.

Source of the codes: rapyuta.io, deployment errors.
"""

from __future__ import annotations

from claraedge.deployments.model import Fault, FaultCode
from claraedge.errors import (
    ClaraedgeError,
    DeploymentFailedError,
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    InvalidDeploymentError,
    RefusedImageError,
    RegistryNotAllowedError,
)

_OF_IMAGES = (
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    RefusedImageError,
    RegistryNotAllowedError,
)


def fault_of(error: ClaraedgeError, *, restarts: bool) -> Fault:
    """Returns why a deployment failed; `restarts`: whether its executables are started again."""
    code = FaultCode.DEVICE
    if isinstance(error, _OF_IMAGES):
        code = FaultCode.NO_IMAGE
    elif isinstance(error, InvalidDeploymentError):
        code = FaultCode.INVALID
    elif isinstance(error, DeploymentFailedError):
        code = FaultCode.CRASHES if restarts else FaultCode.EXITED_EARLY
    return Fault(code=code, message=str(error))
