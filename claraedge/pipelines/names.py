"""Names of pipelines, operators, inputs, outputs and parameters.

Source: Clara 0.8.1, names: 1 to 255 Latin letters, digits, `-` and `_`, compared without case.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None
