"""Environment and command of an executable. Pure.

Source of the variables: rapyuta.io, deployments on devices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from claraedge.deployments.model import DeployedComponent, DeployedExecutable

#: Runs the lines by bash where the image has it: they may be written for it. `$0` is the script.
_SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash -c "$0"; fi; exec /bin/sh -c "$0"'


def environment(
    component: DeployedComponent,
    links: Mapping[str, str],
    variables: Mapping[str, str],
    device: Mapping[str, str],
) -> Mapping[str, str]:
    """Returns the environment variables of a component's executables.

    Parameters come before the variables of the component, those before the ones of the device, and
    all before links to endpoints. `device`: what nothing else may set.
    """
    return {**links, **variables, **component.variables, **component.parameters, **device}


def device_variables(device_id: str, name: str, project: str) -> Mapping[str, str]:
    """Returns the variables that say where an executable runs."""
    return {
        "RIO_DEVICE_ID": device_id,
        "RIO_DEVICE_NAME_LAST_SEEN": name,
        "RIO_PROJECT_ID": project,
    }


def links(components: Iterable[tuple[DeployedComponent, str]]) -> Mapping[str, str]:
    """Returns the variables that lead to the endpoints of components, given with their addresses:
    `NAME`, `NAME_HOST` and `NAME_PORT`.
    """
    found: dict[str, str] = {}
    for component, address in components:
        for endpoint, port in component.endpoints.items():
            name = re.sub(r"[^A-Za-z0-9_]", "_", endpoint)
            found[name] = f"{address}:{port}"
            found[f"{name}_HOST"] = address
            found[f"{name}_PORT"] = str(port)
    return found


def entry(executable: DeployedExecutable) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns entry point and arguments; both are empty for the image's own.

    Several lines stop at the first that fails.
    """
    lines = executable.command
    if not lines:
        return (), ()
    script = lines[0] if len(lines) == 1 else "\n".join(["set -e", *lines])
    return ("/bin/sh", "-c", _SHELL), (script,)
