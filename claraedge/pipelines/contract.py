"""The contract with a container: the environment and the command that it gets. Pure.

Source: Clara 0.7.4 and 0.8.1, operators; variable names as the platform's own images read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from claraedge.pipelines import fastio
from claraedge.pipelines.model import Input, Operator, Output, Service

TRITON_HTTP_PORT = 8000
TRITON_GRPC_PORT = 8001

_NONE: Mapping[str, str] = {}
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replaces `$(NAME)` by the variable, as Kubernetes does in commands and variables.

    `$$` becomes one `$`, so that `$$(NAME)` is the text `$(NAME)`; a reference to an unknown
    variable stays unchanged. Inserted values are not expanded again.
    """

    def value(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        return variables.get(found.group(1), found.group())

    return _REFERENCE.sub(value, text)


def environment(
    operator: Operator,
    *,
    job_id: str,
    job_name: str,
    triton: str | None = None,
    triton_ports: tuple[int, int] = (TRITON_HTTP_PORT, TRITON_GRPC_PORT),
    connections: Mapping[str, str] = _NONE,
) -> dict[str, str]:
    """Returns the environment of an operator's container.

    `triton`: host of the inference server that has loaded the operator's models; `triton_ports`:
    its HTTP and gRPC ports. `connections`: name of a connection of its services -> `host:port`, or
    a path in the container.

    The platform's variables come first, then the connections, then those of the definition, which
    win: they are passed "as given". A variable may refer to all of the former, and to those before
    it.
    """
    result = {
        "NVIDIA_CLARA_INPUTPATHS": _entries(operator.inputs),
        "NVIDIA_CLARA_OUTPUTPATHS": _entries(operator.outputs),
        "NVIDIA_CLARA_JOBID": job_id,
        "NVIDIA_CLARA_JOBNAME": job_name,
        "NVIDIA_CLARA_STAGENAME": operator.name,
        # Inputs are complete before a container starts, so the driver in it must not wait for them.
        "NVIDIA_CLARA_NOSYNCLOCK": "1",
    }
    values = fastio.description(operator.inputs, operator.outputs)
    if values is not None:
        result[fastio.VARIABLE] = values
    if operator.models and triton is not None:
        result |= _triton(triton, triton_ports)
    result |= connections
    return _with_own(result, operator.variables)


def service_environment(
    service: Service, *, data_path: str, connections: Mapping[str, str] = _NONE
) -> dict[str, str]:
    """Returns the environment of a service's container.

    `data_path`: path in it of the folder that all services share; `models/` in it is the model
    repository. `connections`: as for an operator, seen from the service. Its own variables win.
    """
    platform = {"NVIDIA_CLARA_SERVICE_DATA_PATH": data_path}
    return _with_own(platform | dict(connections), service.variables)


def command(operator: Operator, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the operator's command with `$(NAME)` expanded; empty where the image's
    own is used.
    """
    return tuple(expand(part, variables) for part in operator.container.command)


def _with_own(given: dict[str, str], own: Mapping[str, str]) -> dict[str, str]:
    for name, text in own.items():
        given[name] = expand(text, given)
    return given


def _triton(host: str, ports: tuple[int, int]) -> dict[str, str]:
    """Returns the addresses under their current names, and under those before Clara 0.7.2."""
    http = f"{host}:{ports[0]}"
    return {
        "NVIDIA_TRITON_HTTPURI": http,
        "NVIDIA_TRITON_GRPCURI": f"{host}:{ports[1]}",
        "NVIDIA_CLARA_TRTISURI": http,
        "CLARA_TRITON_URI": http,
    }


def _entries(entries: Iterable[Input | Output]) -> str:
    """Returns `name:path` of each entry; the path of a value in shared memory is that
    of its file.
    """
    return ";".join(f"{entry.name or ''}:{entry.path}" for entry in entries)
