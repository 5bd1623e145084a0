"""The meaning of an operator's `requests`. Pure.

Clara changed the meaning between its releases, and kept the words; one profile for the whole site
decides which release is followed.

| | 0.7 (Clara 0.7.1 to 0.7.4) | 0.8 (Clara 0.8.1) |
| --- | --- | --- |
| `memory` | the minimum for the operator, which may use more | the maximum that it may use |
| `memory` not written | 512 MB | 1024 MB |
| `cpu` | logical cores, reserved; not written: none | the same |
| `gpu` | whole devices; not written: none | the same |
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from claraedge.pipelines.model import Operator, Requests
from claraedge.pipelines.registration import is_registration


class Profile(enum.Enum):
    """The Clara release whose meaning of `requests` is followed."""

    CLARA_0_7 = "0.7"
    CLARA_0_8 = "0.8"


_UNWRITTEN = {Profile.CLARA_0_7: 512, Profile.CLARA_0_8: 1024}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRequest:
    """System memory of one operator, in megabytes (2**20 bytes)."""

    reserved: int
    """Memory that has to be available for it."""
    limit: int | None
    """Exceeding it ends the operator; None: only the machine's memory limits it."""
    written: bool
    """Whether the definition, or its image's manifest, sets it; otherwise the profile does."""


def memory(requests: Requests, profile: Profile) -> MemoryRequest:
    """Returns the meaning of a memory request under a profile. 0 is the same as no request."""
    amount = requests.memory or _UNWRITTEN[profile]
    return MemoryRequest(
        reserved=amount,
        limit=amount if profile is Profile.CLARA_0_8 else None,
        written=bool(requests.memory),
    )


def cores(operator: Operator) -> int:
    """Returns the logical cores that are reserved for the operator while it runs."""
    return 0 if is_registration(operator) else operator.requests.cpu or 0


def gpus(operator: Operator) -> int:
    """Returns the number of GPUs that only this operator uses while it runs."""
    return 0 if is_registration(operator) else operator.requests.gpu or 0


def devices(operator: Operator) -> int:
    """Returns the number of GPUs that its container gets: whole ones, or one shared with others."""
    shared = not is_registration(operator) and bool(operator.requests.gpu_memory)
    return max(gpus(operator), shared)


def out_of_memory(meaning: MemoryRequest, profile: Profile) -> str:
    """Explains why an operator that ran out of memory was killed, and what to change."""
    if meaning.limit is None:
        return (
            "ran out of memory and was killed: the device had no more for it (no limit is set, as"
            f' engine.requests_profile is "{profile.value}"); let fewer operators run at once, by'
            " engine.max_operators"
        )
    larger = f"write a larger one, such as `requests: {{memory: {2 * meaning.limit}}}`"
    if meaning.written:
        limit = f"its limit of {meaning.limit} MB (`requests.memory`) was reached"
    else:
        limit = (
            f"its limit of {meaning.limit} MB was reached, which is that of an operator without"
            f' `requests.memory` (engine.requests_profile is "{profile.value}")'
        )
    counted = "what lies in its /dev/shm, /tmp, /var/tmp and /run counts as well"
    return f"ran out of memory and was killed; {limit} ({counted}); {larger}"
