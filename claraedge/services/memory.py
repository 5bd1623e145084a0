"""How much system memory is kept for what runs beside jobs, and how many cores. Pure.

Memory comes out of the budget of operators. Where a definition or the configuration writes how
much, that is also the limit of the container; else there is none, and as much is kept as for an
operator that writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from claraedge.pipelines import requests
from claraedge.pipelines.model import Pipeline, Requests, Service
from claraedge.pipelines.requests import Profile
from claraedge.services.model import INFERENCE, key


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept for one container."""

    name: str
    """For people: `service viewer`."""
    amount: int
    """Megabytes."""
    written: bool
    """Whether the definition or the configuration says so."""
    cores: int = 0
    """Logical cores that are reserved while jobs use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is kept on this device."""

    profile: Profile
    """Says how much where nothing is written."""
    inference: int | None
    """Megabytes of the inference server, where the configuration writes them."""
    unified: bool
    """GPU memory is system memory (Jetson): one budget."""

    def of_pipeline(self, pipeline: Pipeline) -> Mapping[str, Kept]:
        """Key -> what is kept for each that has to run beside a job of it."""
        found: dict[str, Kept] = {}
        for operator in pipeline.operators:
            for service in operator.services:
                found.setdefault(key(service), self.of_service(service))
            if operator.models:
                found[INFERENCE] = self.of_inference()
        return found

    @property
    def unwritten(self) -> Kept:
        """For one of which nothing is known."""
        return self._kept("a service", Requests())

    def of_service(self, service: Service) -> Kept:
        shared = (service.requests.gpu_memory or 0) if self.unified else 0
        return self._kept(f"service {service.name}", service.requests, shared)

    def of_inference(self) -> Kept:
        return self._kept("the inference server", Requests(memory=self.inference))

    def _kept(self, name: str, asked: Requests, shared: int = 0) -> Kept:
        memory = requests.memory(asked, self.profile)
        return Kept(
            name=name,
            amount=memory.reserved + shared,
            written=memory.written,
            cores=asked.cpu or 0,
        )
