"""The stand-in for a GPU that build/provision makes: a null device and its CDI spec."""

from __future__ import annotations

from pathlib import Path

from claraedge.gpu import cdi

KIND = "claraedge.test/gpu"
NODE = "/dev/claraedge-test-gpu0"
#: A node that root and one group of this user may open, and nobody else.
GROUP_KIND = "claraedge.test/group"
GROUP_NODE = "/dev/claraedge-test-gpu-group"
GROUP = "claraedge-test-video"
#: Of this kind are devices that do not arrive in a container: one whose spec gives
#: no node, and one that arrives as another device where the runtime cannot rename nodes; and one
#: that arrives, whose spec sets NVIDIA_VISIBLE_DEVICES.
NONE_KIND = "claraedge.test/none"
NONE = (f"{NONE_KIND}=empty", f"{NONE_KIND}=other", f"{NONE_KIND}=named")


def why_there_is_none() -> str | None:
    """The reason, with what to do; None where the stand-in is there."""
    named = (
        cdi.devices(KIND) == (f"{KIND}=0",)
        and cdi.devices(NONE_KIND) == NONE
        and cdi.devices(GROUP_KIND) == (f"{GROUP_KIND}=0",)
    )
    if Path(NODE).is_char_device() and named:
        return None
    return f"no stand-in GPU ({NODE} with a CDI spec of kind {KIND}): build/test makes it"
