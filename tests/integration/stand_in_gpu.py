"""The stand-in for a GPU that build/provision makes: a null device and its CDI spec."""

from __future__ import annotations

from pathlib import Path

from claraedge.gpu import cdi

KIND = "claraedge.test/gpu"
NODE = "/dev/claraedge-test-gpu0"


def why_there_is_none() -> str | None:
    """The reason, with what to do; None where the stand-in is there."""
    if Path(NODE).is_char_device() and cdi.devices(KIND) == (f"{KIND}=0",):
        return None
    return f"no stand-in GPU ({NODE} with a CDI spec of kind {KIND}): build/test makes it"
