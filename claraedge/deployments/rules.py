"""The rule of the keepers for each restart policy. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from claraedge.packages.model import RestartPolicy
from claraedge.supervised.restarts import Always, Never, OnFailure, RestartRule

RULES: Mapping[RestartPolicy, RestartRule] = {
    RestartPolicy.ALWAYS: Always(),
    RestartPolicy.ON_FAILURE: OnFailure(),
    RestartPolicy.NEVER: Never(),
}
