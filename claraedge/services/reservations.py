"""The system memory, cores and GPUs that are reserved for service containers. Pure.

The memory is part of the budget of operators. If a definition or the configuration states an
amount, it is also the limit of the container; otherwise there is no limit, and the same amount is
reserved as for an operator that states none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from claraedge.pipelines import requests
from claraedge.pipelines.model import Pipeline, Requests, Service
from claraedge.pipelines.requests import Profile
from claraedge.services.model import INFERENCE, gpus_of, key


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionReservation:
    """The reservation for one container."""

    name: str
    """Name for messages, such as `service viewer`."""
    amount: int
    """Memory in megabytes."""
    written: bool
    """Whether the definition or the configuration states the amount."""
    cores: int = 0
    """Logical cores that are reserved while jobs use it."""
    gpus: int = 0
    """GPUs of its container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRules:
    """The rules for reservations on this device."""

    profile: Profile
    """Determines the amount if none is stated."""
    inference: int | None
    """Megabytes of the inference server, if the configuration states them."""
    inference_gpus: int
    """GPUs of the inference server."""
    unified: bool
    """Whether GPU memory is system memory (Jetson), so that both share one budget."""

    def of_pipeline(self, pipeline: Pipeline) -> Mapping[str, CompanionReservation]:
        """Returns, per key, the reservation of each companion that a job of the pipeline needs."""
        found: dict[str, CompanionReservation] = {}
        for operator in pipeline.operators:
            for service in operator.services:
                if not service.deployment:  # it reserves for itself, whether or not jobs use it
                    found.setdefault(key(service), self.of_service(service))
            if operator.models:
                found[INFERENCE] = self.of_inference()
        return found

    @property
    def unwritten(self) -> CompanionReservation:
        """The reservation for a service of which nothing is known."""
        return self._kept("a service", Requests())

    def of_service(self, service: Service) -> CompanionReservation:
        """Returns the reservation of a service."""
        shared = (service.requests.gpu_memory or 0) if self.unified else 0
        return self._kept(f"service {service.name}", service.requests, gpus_of(service), shared)

    def of_inference(self) -> CompanionReservation:
        """Returns the reservation of the inference server."""
        asked = Requests(memory=self.inference)
        return self._kept("the inference server", asked, self.inference_gpus)

    def _kept(
        self, name: str, asked: Requests, gpus: int = 0, shared: int = 0
    ) -> CompanionReservation:
        memory = requests.memory(asked, self.profile)
        return CompanionReservation(
            name=name,
            amount=memory.reserved + shared,
            written=memory.written,
            cores=asked.cpu or 0,
            gpus=gpus,
        )
