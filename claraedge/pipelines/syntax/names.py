"""Names of pipelines, operators, inputs, outputs and parameters.

Source: Clara 0.8.1, names: 1 to 255 Latin letters, digits, `-` and `_`, compared without case.
"""

from __future__ import annotations

import re

from claraedge.pipelines.syntax.grammar import NAME

_NAME = re.compile(NAME)


def is_name(text: str) -> bool:
    """Whether this is a valid name of the language."""
    return _NAME.fullmatch(text) is not None
