"""The containers of deployments, for the room of containers that are kept running."""

from __future__ import annotations

from claraedge.errors import DeploymentFailedError
from claraedge.runner.protocol import (
    LABEL_DEPLOYMENTS,
    LABEL_EXECUTABLE,
    LABEL_EXECUTABLE_NAME,
)
from claraedge.supervised.workshop import ContainerKind

DEPLOYMENTS = ContainerKind(
    noun="deployment",
    mark=LABEL_DEPLOYMENTS,
    key=LABEL_EXECUTABLE,
    title=LABEL_EXECUTABLE_NAME,
    error=DeploymentFailedError,
    logs=4,
)
