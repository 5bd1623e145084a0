"""What a container is told when it runs: its environment and its command. Pure.

Source: Clara 0.7.4 and 0.8.1, operators; names as the platform's own images read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from claraedge.pipelines.model import Input, Operator, Output

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replaces `$(NAME)` by the variable, as Kubernetes does in commands and variables.

    `$$` is one `$`, so `$$(NAME)` is the text `$(NAME)`; a reference to an unknown variable stays
    as it stands. What was put in is not expanded again.
    """

    def value(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        return variables.get(found.group(1), found.group())

    return _REFERENCE.sub(value, text)


def environment(operator: Operator, *, job_id: str, job_name: str) -> dict[str, str]:
    """Environment of one operator's container.

    The definition's own variables come last and win: they are given "as given". A variable may
    refer to those of the platform and to those before it.
    """
    result = {
        "NVIDIA_CLARA_INPUTPATHS": _entries(operator.inputs),
        "NVIDIA_CLARA_OUTPUTPATHS": _entries(operator.outputs),
        "NVIDIA_CLARA_JOBID": job_id,
        "NVIDIA_CLARA_JOBNAME": job_name,
        "NVIDIA_CLARA_STAGENAME": operator.name,
        # Inputs are complete before a container starts, so the driver in it must not wait.
        "NVIDIA_CLARA_NOSYNCLOCK": "1",
    }
    for name, text in operator.variables.items():
        result[name] = expand(text, result)
    return result


def command(operator: Operator, variables: Mapping[str, str]) -> tuple[str, ...]:
    """The operator's command with `$(NAME)` expanded; empty where the image's own is to run."""
    return tuple(expand(part, variables) for part in operator.container.command)


def _entries(folders: Iterable[Input | Output]) -> str:
    return ";".join(f"{f.name or ''}:{f.path}" for f in folders)
