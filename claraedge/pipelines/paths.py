"""Where the folders of a job lie in its payload. Pure.

All paths are relative to the payload's root, so that joining one to a folder stays inside it.
Source: Clara 0.8.1, payload layout; the folder of a named output as NVIDIA's sizing tool makes it.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from claraedge.pipelines.model import Input, Operator, Output

INPUT = PurePosixPath("input")
"""The job's own input: what a client uploads or drops."""
OPERATORS = PurePosixPath("operators")


def operator_folder(name: str) -> PurePosixPath:
    """`operators/<operator>`; the name is a checked one, so it is a single component."""
    return OPERATORS / name


def output_folder(operator: Operator, output: Output) -> PurePosixPath:
    """`operators/<operator>` of an unnamed output, `operators/<operator>/<output>` of a named."""
    folder = operator_folder(operator.name)
    return folder if output.name is None else folder / output.name


def input_folder(source: Input) -> PurePosixPath:
    """What an input reads: the payload's input, one output, or an operator's whole folder."""
    if source.source is None:
        return INPUT
    folder = operator_folder(source.source)
    return folder if source.name is None else folder / source.name
