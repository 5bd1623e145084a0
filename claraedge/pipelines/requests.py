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
from claraedge.pipelines.tmpfs import Tmpfs, TmpfsRule


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRequests:
    """All that one operator requests while it runs. Without arguments: nothing at all."""

    slot: bool = True
    """Whether it occupies an operator slot; one that the platform itself runs does not."""
    cores: int = 0
    """Logical cores that are reserved for it."""
    memory: MemoryRequest = MemoryRequest(reserved=0, limit=None, written=False)
    tmpfs: Tmpfs = Tmpfs(shared_memory=None, scratch=None)  # noqa: RUF009
    """Sizes of its file systems in memory, which are part of `memory`."""
    gpus: int = 0
    """Number of whole GPUs that only this operator uses."""
    gpu_memory: int = 0
    """Megabytes of one GPU that it shares with others."""

    @property
    def devices(self) -> int:
        """Number of GPUs that its container gets: whole ones, or one shared with others."""
        return max(self.gpus, bool(self.gpu_memory))

    def system_memory(self, *, unified: bool) -> int:
        """Returns the megabytes of system memory, with GPU memory where that is `unified`."""
        return self.memory.reserved + (self.gpu_memory if unified else 0)


def memory(requests: Requests, profile: Profile) -> MemoryRequest:
    """Returns the meaning of a memory request under a profile. 0 is the same as no request."""
    amount = requests.memory or _UNWRITTEN[profile]
    return MemoryRequest(
        reserved=amount,
        limit=amount if profile is Profile.CLARA_0_8 else None,
        written=bool(requests.memory),
    )


def of_operator(operator: Operator, profile: Profile, rule: TmpfsRule) -> OperatorRequests:
    """Returns all that an operator requests. One that registers results runs no container."""
    if is_registration(operator):
        return OperatorRequests(slot=False)
    meaning = memory(operator.requests, profile)
    return OperatorRequests(
        cores=operator.requests.cpu or 0,
        memory=meaning,
        tmpfs=rule.of(operator.container, meaning.limit),
        gpus=operator.requests.gpu or 0,
        gpu_memory=operator.requests.gpu_memory or 0,
    )


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
