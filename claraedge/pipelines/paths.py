"""The paths of a job's folders in its payload. Pure.

All paths are relative to the payload's root, so that joining one to a folder stays inside it.
Source: Clara 0.8.1, payload layout; the folder of a named output as NVIDIA's sizing tool creates
it.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from claraedge.pipelines.model import Input, Operator, Output

INPUT = PurePosixPath("input")
"""The job's own input: what a client uploads or drops."""
OPERATORS = PurePosixPath("operators")


def operator_folder(name: str) -> PurePosixPath:
    """Returns `operators/<operator>`; the name was checked, so it is a single component."""
    return OPERATORS / name


def output_folder(operator: Operator, output: Output) -> PurePosixPath:
    """Returns `operators/<operator>` for an unnamed output, `operators/<operator>/<output>` for a
    named.
    """
    folder = operator_folder(operator.name)
    return folder if output.name is None else folder / output.name


def input_folder(source: Input) -> PurePosixPath:
    """Returns what an input reads: the payload's input, one output, or an operator's
    whole folder.
    """
    if source.source is None:
        return INPUT
    folder = operator_folder(source.source)
    return folder if source.name is None else folder / source.name
