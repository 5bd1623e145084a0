"""Definitions of pipelines."""

from __future__ import annotations

from collections.abc import Sequence


def chain(*operators: str, image: str = "copy", extra: Sequence[str] = ()) -> str:
    """Returns a definition whose operators each read the previous one, the first the payload."""
    lines = ["api-version: 0.4.0", "name: chain", "operators:"]
    before = None
    for name in operators:
        lines += [
            f"- name: {name}",
            f"  container: {{image: {image}, tag: '1'}}",
            *(f"  {line}" for line in extra),
            "  input:",
            f"  - {{path: /in{f', from: {before}' if before else ''}}}",
            "  output:",
            "  - {path: /out}",
        ]
        before = name
    return "\n".join(lines) + "\n"
