"""What a job asks of the device as a whole, whatever of it runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from claraedge.pipelines import requests
from claraedge.pipelines.model import Operator, Pipeline
from claraedge.pipelines.registration import is_registration
from claraedge.services.memory import Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """Memory in megabytes; on a unified device with what is asked for of the GPU's."""

    gpus: int
    """The most whole GPUs that one of its operators asks for: the job's lease."""
    devices: int
    """The same, with shares and services: so many have to be there at all."""
    gpu_beside: bool
    """Whether services or the inference server of it ask for a GPU."""
    largest: int
    """Memory of its largest operator."""
    services: Mapping[str, int]
    """Key of each service that it needs, and of the inference server -> memory."""
    cores: Mapping[str, int]
    """Key of each service that asks for cores -> how many."""
    written: Mapping[str, int]
    """What has to be there at one time and is written, in words -> memory: all services, and the
    largest operator. Empty without services."""

    @classmethod
    def of(
        cls,
        pipeline: Pipeline,
        kept: Mapping[str, Kept],
        profile: requests.Profile,
        *,
        unified: bool,
        gpu_beside: bool,
    ) -> Self:
        """`kept`: key -> what is kept beside a job of the pipeline; `gpu_beside`: that asks for a
        GPU.
        """
        operators = pipeline.operators
        memory = {o.name: _memory(o, profile, unified=unified) for o in operators}
        written: dict[str, int] = {}
        for each in kept.values():
            if each.written:
                written[each.name] = each.amount + written.get(each.name, 0)
        named = [o.name for o in operators if o.requests.memory]
        if written and named:
            largest = max(named, key=memory.__getitem__)
            written[f"operator {largest}"] = memory[largest]
        gpus = max(requests.gpus(o) for o in operators)
        return cls(
            gpus=gpus,
            devices=max(gpus, gpu_beside, *(requests.devices(o) for o in operators)),
            gpu_beside=gpu_beside,
            largest=max(memory.values()),
            services={key: each.amount for key, each in kept.items()},
            cores={key: each.cores for key, each in kept.items() if each.cores},
            written=written,
        )

    def too_large(self, memory: int | None) -> str | None:
        """Why it can never run on a device with so much; None: it can, or nobody counts."""
        if memory is None or sum(self.written.values()) <= memory:
            return None
        parts = [f"{name} ({amount} MB)" for name, amount in self.written.items()]
        return (
            f"{' and '.join(parts)} have to run at one time, and this device has {memory} MB of"
            " memory; write less in their `requests.memory`, or run the pipeline on a larger device"
        )


def _memory(operator: Operator, profile: requests.Profile, *, unified: bool) -> int:
    if is_registration(operator):
        return 0
    shared = (operator.requests.gpu_memory or 0) if unified else 0
    return requests.memory(operator.requests, profile).reserved + shared
