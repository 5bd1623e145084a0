"""The resources that a job needs as a whole, whichever of its operators run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from claraedge.pipelines import fastio
from claraedge.pipelines.model import Pipeline
from claraedge.pipelines.requests import OperatorRequests, Profile, of_operator
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.services.reservations import CompanionReservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """The demands of a job. Memory is in megabytes; on a unified device including GPU memory."""

    operators: Mapping[str, OperatorRequests]
    """Operator -> all that it requests."""
    values: int | None
    """Bytes of all of its values in shared memory, as far as known; None: it has no values."""
    gpus: int
    """The most whole GPUs that one of its operators requests: the size of the job's lease."""
    devices: int
    """GPUs that must exist: `gpus`, or at least one if a GPU is shared or services need one."""
    services_want_gpu: bool
    """Whether its services or the inference server request a GPU."""
    largest: int
    """Megabytes of its largest operator."""
    services: Mapping[str, int]
    """Key of each service that it needs, and of the inference server -> megabytes."""
    cores: Mapping[str, int]
    """Key of each service that reserves cores -> number of cores."""
    written: Mapping[str, int]
    """What must fit into memory at one time, as text -> megabytes, if it is stated.

    All services, and the largest operator. Empty without services.
    """

    @classmethod
    def of(
        cls,
        pipeline: Pipeline,
        kept: Mapping[str, CompanionReservation],
        profile: Profile,
        rule: TmpfsRule,
        *,
        unified: bool,
    ) -> Self:
        """Returns the demands of a job of a pipeline.

        `kept`: key -> what is reserved for each service of the job.
        """
        operators = {o.name: of_operator(o, profile, rule) for o in pipeline.operators}
        memory = {name: o.system_memory(unified=unified) for name, o in operators.items()}
        written: dict[str, int] = {}
        for each in kept.values():
            if each.written:
                written[each.name] = each.amount + written.get(each.name, 0)
        named = [name for name, o in operators.items() if o.memory.written]
        if written and named:
            largest = max(named, key=memory.__getitem__)
            written[f"operator {largest}"] = memory[largest]
        services_want_gpu = any(each.gpus for each in kept.values())
        return cls(
            operators=operators,
            values=fastio.total(pipeline),
            gpus=max(o.gpus for o in operators.values()),
            devices=max(services_want_gpu, *(o.devices for o in operators.values())),
            services_want_gpu=services_want_gpu,
            largest=max(memory.values()),
            services={key: each.amount for key, each in kept.items()},
            cores={key: each.cores for key, each in kept.items() if each.cores},
            written=written,
        )

    def too_large(self, memory: int | None) -> str | None:
        """Returns why a device with `memory` megabytes can never run it; None: it can."""
        if memory is None or sum(self.written.values()) <= memory:
            return None
        parts = [f"{name} ({amount} MB)" for name, amount in self.written.items()]
        return (
            f"{' and '.join(parts)} have to run at one time, and this device has {memory} MB of"
            " memory; write less in their `requests.memory`, or run the pipeline on a larger device"
        )
